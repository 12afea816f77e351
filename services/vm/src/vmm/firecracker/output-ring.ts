import { escapeUntrusted } from "./untrusted-text.ts";

const firstAllocationBytes = 16 * 1024;
const newline = 0x0a;
const maxLineCharacters = 1024;

/** The newest bytes of an output that somebody else writes without end. Counters are exact. */
export interface OutputRing {
  write(chunk: Uint8Array): void;
  readonly keptBytes: number;
  readonly droppedBytes: number;
  readonly keptLines: number;
  /** Lines of which nothing is kept. */
  readonly droppedLines: number;
  contents(): Buffer;
  /** The last whole or begun lines, oldest first, made printable and at most 1,024 characters each. */
  tail(lines: number): readonly string[];
}

/** Allocates as it fills, up to `capacityBytes`: most machines say next to nothing. */
export function createOutputRing(capacityBytes: number): OutputRing {
  let buffer = Buffer.alloc(0);
  let start = 0;
  let kept = 0;
  let dropped = 0;
  let receivedLines = 0;

  const contents = () =>
    Buffer.concat([
      buffer.subarray(start, start + kept),
      buffer.subarray(0, Math.max(0, start + kept - buffer.length)),
    ]);
  const grow = (wanted: number) => {
    if (wanted <= buffer.length || buffer.length === capacityBytes) return;
    let size = Math.max(buffer.length, Math.min(firstAllocationBytes, capacityBytes));
    while (size < wanted) size *= 2;
    const larger = Buffer.alloc(Math.min(size, capacityBytes));
    contents().copy(larger);
    buffer = larger;
    start = 0;
  };
  const keptLines = () => countLines(contents());

  return {
    write(chunk) {
      receivedLines += countLines(chunk);
      const bytes = chunk.subarray(Math.max(0, chunk.length - capacityBytes));
      dropped += chunk.length - bytes.length;
      grow(kept + bytes.length);
      const overflow = Math.max(0, kept + bytes.length - buffer.length);
      if (buffer.length > 0) start = (start + overflow) % buffer.length;
      kept -= overflow;
      dropped += overflow;
      const at = (start + kept) % Math.max(1, buffer.length);
      const first = bytes.subarray(0, buffer.length - at);
      buffer.set(first, at);
      buffer.set(bytes.subarray(first.length), 0);
      kept += bytes.length;
    },
    get keptBytes() {
      return kept;
    },
    get droppedBytes() {
      return dropped;
    },
    get keptLines() {
      return keptLines();
    },
    get droppedLines() {
      return receivedLines - keptLines();
    },
    contents,
    tail(lines) {
      const all = contents();
      const found: string[] = [];
      let end = all.at(-1) === newline ? all.length - 1 : all.length;
      while (found.length < lines && end > 0) {
        const begin = all.lastIndexOf(newline, end - 1) + 1;
        found.unshift(escapeUntrusted(all.subarray(begin, end), maxLineCharacters));
        end = begin - 1;
      }
      return found;
    },
  };
}

function countLines(bytes: Uint8Array): number {
  let lines = 0;
  for (let at = bytes.indexOf(newline); at >= 0; at = bytes.indexOf(newline, at + 1)) lines += 1;
  return lines;
}
