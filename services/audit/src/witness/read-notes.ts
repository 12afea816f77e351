const signatureStart = "\u2014 ";

/**
 * The notes in lines of a text that `joinNotes` made, in order. A note is a block of lines without an empty one, an empty line, and a block of
 * signature lines. Anything else, such as what a crash left of a note, is passed over.
 */
export async function* readNotes(lines: AsyncIterable<string>): AsyncGenerator<string> {
  let text: string[] = [];
  let block: string[] = [];
  const end = (): string | undefined => {
    const isSignatures = block.length > 0 && block.every((line) => line.startsWith(signatureStart));
    const note = isSignatures && text.length > 0 ? `${text.join("\n")}\n\n${block.join("\n")}\n` : undefined;
    if (block.length > 0) text = isSignatures ? [] : block;
    block = [];
    return note;
  };
  for await (const line of lines) {
    if (line !== "") {
      // A block that no checkpoint could be is not collected without bound.
      if (block.length < maxBlockLines) block.push(line.slice(0, maxLineChars));
      continue;
    }
    const note = end();
    if (note !== undefined) yield note;
  }
  const last = end();
  if (last !== undefined) yield last;
}

const maxBlockLines = 64;
const maxLineChars = 1024;
