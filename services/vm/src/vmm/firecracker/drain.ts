import type { Duplex } from "node:stream";

/** A VMM that floods its log costs no more of this process than this; what it writes beyond is lost on its side of the FIFO. */
const maxBytesPerSecond = 4 * 1024 * 1024;

/**
 * Reads a VMM's output for as long as it comes, and never blocks it: the VMM writes into its FIFO without waiting. `onEnd` is called once,
 * when the stream has ended, whatever the cause.
 */
export function drain(stream: Duplex, write: (chunk: Buffer) => void, onEnd: () => void): void {
  let budget = maxBytesPerSecond;
  let refill: NodeJS.Timeout | undefined;
  stream.on("data", (chunk: Buffer) => {
    write(chunk);
    budget -= chunk.length;
    refill ??= setTimeout(() => {
      refill = undefined;
      budget = maxBytesPerSecond;
      stream.resume();
    }, 1_000).unref();
    if (budget <= 0) stream.pause();
  });
  stream.on("error", () => {}); // its close says the same
  stream.once("end", () => stream.destroy());
  stream.once("close", () => {
    clearTimeout(refill);
    onEnd();
  });
}
