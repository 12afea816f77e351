import type { Command, Completion, Option } from "./command.ts";
import { commonOptions } from "./parse.ts";

/** A bash script that completes commands, options, their choices, and names of tenants, which it asks `lobster ls` for. */
export function bashCompletion(commands: readonly Command[]): string {
  const groups = [...new Set(commands.flatMap(({ name }) => (name.includes(" ") ? [name.split(" ")[0] ?? ""] : [])))];
  const first = [...new Set(commands.map(({ name }) => name.split(" ")[0] ?? "")), "help"];
  const all = Object.assign({}, commonOptions, ...commands.map(({ options }) => options));
  return `_lobster() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}"
  local words=() word skip= key options= index
  for ((index = 1; index < COMP_CWORD; index++)); do
    word="\${COMP_WORDS[index]}"
    if [[ -n $skip ]]; then skip=; continue; fi
    case "$word" in
      --) return ;;
      ${valueOptions(all).join("|")}) skip=1 ;;
      -*) ;;
      *) words+=("$word") ;;
    esac
  done
  key="\${words[0]-}"
  case "$key" in
    ${groups.join("|")}) key+=" \${words[1]-}" ;;
  esac
  if [[ -n $skip ]]; then
    case "$key $previous" in
${commands.flatMap(choiceCases).join("")}      *) COMPREPLY=($(compgen -f -- "$current")) ;;
    esac
    return
  fi
  case "$key" in
    "") options="${first.join(" ")}" ;;
${groups.map((group) => `    "${group} ") options="${membersOf(group, commands).join(" ")}" ;;\n`).join("")}${commands.map(commandCase).join("")}  esac
  if [[ $current == -* ]]; then options="${longNames(commonOptions).join(" ")}"; fi
  case "$current$key" in
${commands.map(optionCase).join("")}  esac
  COMPREPLY=($(compgen -W "$options" -- "$current"))
}
_lobster_tenants() {
  lobster ls --quiet --timeout 2 2>/dev/null
}
complete -F _lobster lobster
`;
}

function membersOf(group: string, commands: readonly Command[]): readonly string[] {
  return commands.flatMap(({ name }) => (name.startsWith(`${group} `) ? [name.slice(group.length + 1)] : []));
}

function longNames(options: Readonly<Record<string, Option>>): readonly string[] {
  return Object.keys(options).map((name) => `--${name}`);
}

function valueOptions(options: Readonly<Record<string, Option>>): readonly string[] {
  return Object.entries(options).flatMap(([name, { value, short }]) =>
    value === undefined ? [] : [`--${name}`, ...(short === undefined ? [] : [`-${short}`])],
  );
}

function choiceCases({ name, options }: Command): readonly string[] {
  return Object.entries(options).flatMap(([option, { choices }]) =>
    choices === undefined
      ? []
      : [`      "${name} --${option}") COMPREPLY=($(compgen -W "${choices.join(" ")}" -- "$current")) ;;\n`],
  );
}

/** The operand at the place of the cursor. */
function commandCase({ name, operands }: Command): string {
  const wordCount = name.split(" ").length;
  const cases = operands.flatMap(({ completion }, index) =>
    completion === undefined ? [] : [`${wordCount + index}) options="${candidates(completion)}" ;;`],
  );
  if (cases.length === 0) return "";
  return `    "${name}") case "\${#words[@]}" in ${cases.join(" ")} esac ;;\n`;
}

function candidates(completion: Completion): string {
  return completion === "tenant" ? "$(_lobster_tenants)" : completion.join(" ");
}

function optionCase({ name, options }: Command): string {
  const names = longNames(options);
  return names.length === 0 ? "" : `    -*"${name}") options+=" ${names.join(" ")}" ;;\n`;
}
