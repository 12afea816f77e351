/**
 * Text that a VMM or a guest wrote, safe for a terminal and for a log line: everything but printable ASCII becomes `\xNN` of its bytes, the
 * backslash is doubled, and what does not fit into `maxCharacters` is cut off and ends in `...`.
 */
export function escapeUntrusted(text: string | Uint8Array, maxCharacters: number): string {
  const bytes = typeof text === "string" ? Buffer.from(text.slice(0, maxCharacters + 1), "utf8") : text;
  let escaped = "";
  for (const byte of bytes) {
    const character = escapeByte(byte);
    if (escaped.length + character.length > maxCharacters) return `${escaped.slice(0, maxCharacters - 3)}...`;
    escaped += character;
  }
  return escaped;
}

function escapeByte(byte: number): string {
  if (byte === 0x5c) return "\\\\";
  if (byte >= 0x20 && byte <= 0x7e) return String.fromCharCode(byte);
  return `\\x${byte.toString(16).padStart(2, "0")}`;
}
