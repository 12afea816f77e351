/** Literals of TypeScript on one line, each kind by itself: a quotation mark in a comment hides none of another kind. */
const literals = [/"((?:[^"\\\n]|\\.)+)"/g, /'((?:[^'\\\n]|\\.)+)'/g, /`((?:[^`\\\n]|\\.)+)`/g];
const placeholder = /\$\{[^}]*\}/;
/** A template with less text than this could be any name. */
const leastText = 6;

/**
 * Whether a literal of `source` is the name of a test, or begins with `name`; those of its suites may stand before it, each with a space. A template
 * has to be the whole name, with anything put into it.
 */
export function namesTest(source: string, name: string): boolean {
  const said = literals.flatMap((literal) => [...source.matchAll(literal)].map(([, text = ""]) => text));
  const pieces = said.map((text) => text.split(placeholder));
  const whole = pieces.flatMap(([text = "", ...more]) =>
    more.length === 0 ? [text.replaceAll(/\\(["'`\\])/g, "$1")] : [],
  );
  const templates = pieces
    .filter((parts) => parts.length > 1 && parts.join("").length >= leastText)
    .map((parts) => new RegExp(`^${parts.map(RegExp.escape).join(".*")}$`));
  const isNamed = (rest: string): boolean =>
    whole.some(
      (text) => text.startsWith(rest) || (rest.startsWith(`${text} `) && isNamed(rest.slice(text.length + 1))),
    ) || templates.some((template) => template.test(rest));
  return isNamed(name);
}
