/** A setting and its value; a value that is a list is one line for each. */
export type Settings = Readonly<Record<string, string | readonly string[]>>;

/** A unit of systemd: sections in order. */
export type Unit = Readonly<Record<string, Settings>>;

/** The text of a unit file, with `comment` above it. Throws for a value that would end its line. */
export function unitText(unit: Unit, comment: string): string {
  const sections = Object.entries(unit).map(([name, settings]) => {
    const lines = Object.entries(settings).flatMap(([key, value]) =>
      [value].flat().map((one) => `${key}=${requireOneLine(one)}`),
    );
    return [`[${name}]`, ...lines].join("\n");
  });
  const heading = comment.split("\n").map((line) => `# ${line}`);
  return `${heading.join("\n")}\n\n${sections.join("\n\n")}\n`;
}

/** What a unit file says: for each section, the values of each setting in order. Throws with the line that is neither. */
export function parseUnit(text: string): ReadonlyMap<string, ReadonlyMap<string, readonly string[]>> {
  const sections = new Map<string, Map<string, string[]>>();
  let section: Map<string, string[]> | undefined;
  for (const line of text.split("\n")) {
    if (line === "" || line.startsWith("#")) continue;
    const name = /^\[(\w+)\]$/.exec(line)?.[1];
    if (name !== undefined) {
      if (sections.has(name)) throw new Error(`section ${name} is there twice`);
      section = new Map();
      sections.set(name, section);
      continue;
    }
    const [, key, value] = /^([A-Za-z]+)=(.*)$/.exec(line) ?? [];
    if (section === undefined || key === undefined || value === undefined) throw new Error(`not a setting: ${line}`);
    section.set(key, [...(section.get(key) ?? []), value]);
  }
  return sections;
}

/**
 * A command as `ExecStart=` takes it. Throws for a word that systemd would split, unquote or expand: none of ours needs
 * quoting, and one that does is a mistake.
 */
export function commandLine(words: readonly string[]): string {
  const odd = words.find((word) => !/^[A-Za-z0-9/._:=-]+$/.test(word));
  if (odd !== undefined) throw new RangeError(`${JSON.stringify(odd)} cannot stand in ExecStart= as it is`);
  return words.join(" ");
}

function requireOneLine(value: string): string {
  if (/[\n\r]/.test(value) || value.endsWith("\\")) throw new RangeError(`${JSON.stringify(value)} is not one line`);
  return value;
}
