import { once } from "node:events";
import type { ReadStream, WriteStream } from "node:tty";

/** Where a command writes. */
export interface Output {
  readonly isTerminal: boolean;
  /** Of the terminal, or of an ordinary one. */
  size(): { readonly columns: number; readonly rows: number };
  /** Resolves when there is room for more: a slow reader slows the command down, and its memory does not grow. */
  write(data: string | Uint8Array): Promise<void>;
  /** Calls `listener` when the terminal changes its size; returns what ends that. */
  onResize(listener: () => void): () => void;
}

/** Where a command reads. */
export interface Input {
  readonly isTerminal: boolean;
  chunks(): AsyncIterable<Uint8Array>;
  /** Gives every key to the program as it is typed; returns what ends that, as does the end of the program, also by a signal. */
  makeRaw(): () => void;
}

/** What a command has instead of the process's own streams. */
export interface Io {
  readonly input: Input;
  readonly output: Output;
  readonly errors: Output;
}

/** The streams of this process. */
export function processIo(): Io {
  return { input: inputOf(process.stdin), output: outputOf(process.stdout), errors: outputOf(process.stderr) };
}

function outputOf(stream: WriteStream): Output {
  return {
    isTerminal: stream.isTTY === true,
    size: () => ({ columns: stream.columns ?? 80, rows: stream.rows ?? 24 }),
    async write(data) {
      if (!stream.write(data)) await once(stream, "drain");
    },
    onResize(listener) {
      stream.on("resize", listener);
      return () => stream.off("resize", listener);
    },
  };
}

function inputOf(stream: ReadStream): Input {
  return {
    isTerminal: stream.isTTY === true,
    chunks: () => stream,
    makeRaw() {
      const restore = () => void stream.setRawMode(false);
      // Node itself gives the terminal back at every end of the program but this one.
      const die = () => {
        restore();
        process.kill(process.pid, "SIGHUP");
      };
      process.once("SIGHUP", die);
      stream.setRawMode(true);
      return () => {
        process.off("SIGHUP", die);
        restore();
      };
    },
  };
}
