/**
 * What a terminal acts on instead of showing it, and what reorders text: a label or an error's text may come from a tenant. Line feed and
 * tab are among them.
 */
const unsafe = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

/** `text` in one line, with every control character spelled out: `\x1b`, `\u202e`. */
export function printable(text: string): string {
  return text.replaceAll(unsafe, (character) => spelled(character));
}

/** The same for a text that has lines: line feeds and tabs stay. */
export function printableLines(text: string): string {
  return text.replaceAll(unsafe, (character) =>
    character === "\n" || character === "\t" ? character : spelled(character),
  );
}

/** JSON of `value`, with nothing in it that a terminal acts on; `indent` is the number of spaces, 0 for one line. */
export function jsonText(value: unknown, indent: number): string {
  return JSON.stringify(value, undefined, indent).replaceAll(unsafe, (character) =>
    character === "\n" ? character : [...utf16(character)].map((unit) => `\\u${unit}`).join(""),
  );
}

function spelled(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  if (code <= 0xff) return `\\x${code.toString(16).padStart(2, "0")}`;
  return code <= 0xffff ? `\\u${code.toString(16).padStart(4, "0")}` : `\\u{${code.toString(16)}}`;
}

function* utf16(character: string): Generator<string> {
  for (let index = 0; index < character.length; index += 1)
    yield character.charCodeAt(index).toString(16).padStart(4, "0");
}
