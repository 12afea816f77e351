import { createReadStream } from "node:fs";
import { UsageError } from "./command.ts";
import type { Input } from "./io.ts";

/** What the server takes. */
const maxBytes = 65_536;

/** The value of a secret, 1 byte to 64 KiB, from a file or from standard input, without one line feed at its end. Throws `UsageError`. */
export async function readSecretValue(file: string | undefined, input: Input): Promise<Uint8Array<ArrayBuffer>> {
  if (file === undefined && input.isTerminal)
    throw new UsageError("a secret typed into a terminal would be shown: give --from FILE, or a pipe");
  const value = await readBounded(file === undefined ? input.chunks() : createReadStream(file));
  const end = value.at(-1) === 0x0a ? value.length - 1 : value.length;
  if (end === 0) throw new UsageError("the value is empty");
  if (end > maxBytes) throw new UsageError("the value is larger than 64 KiB");
  return value.slice(0, end);
}

async function readBounded(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array<ArrayBuffer>> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of chunks) {
    parts.push(chunk);
    size += chunk.length;
    if (size > maxBytes + 1) break;
  }
  return Uint8Array.from(Buffer.concat(parts));
}
