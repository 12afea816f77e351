/**
 * One pseudo-terminal. Its slave belongs to root and is opened here, so that no other command of the workload's user can open it: the
 * command gets it as its standard streams and by /dev/tty.
 */
import { type ChildProcess, type StdioOptions, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, constants, openSync, readFileSync } from "node:fs";
import type { Readable, Writable } from "node:stream";

/** In characters. */
export type TerminalSize = { readonly columns: number; readonly rows: number };

const { O_RDWR, O_NOCTTY } = constants;
const stty = "/usr/bin/stty";
const cat = "/usr/bin/cat";
/** image/unlock-terminal.ts */
export const unlockTerminalPath = "/opt/agent/unlock-terminal";

export class Terminal {
  /** What is typed. */
  readonly input: Writable;
  /** What is shown. It ends when nobody has the slave open any more. */
  readonly output: Readable;
  readonly #master: number;
  readonly #slavePath: string;
  readonly #pumps: readonly ChildProcess[];
  #isOpen = true;

  /**
   * Opens a terminal of that size, which `use` gets the slave of before anything is read from it; the slave is closed when `use` has
   * ended. Rejects when there is none to be had, or as `use` does.
   */
  static async open<T>(
    size: TerminalSize,
    unlockPath: string,
    use: (slave: number) => Promise<T>,
  ): Promise<{ readonly terminal: Terminal; readonly used: T }> {
    const master = openSync("/dev/ptmx", O_RDWR | O_NOCTTY);
    try {
      await run(unlockPath, [], master);
      const index = /^tty-index:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${master}`, "utf8"))?.[1];
      if (index === undefined) throw new Error("the kernel does not say which terminal it made");
      const slavePath = `/dev/pts/${index}`;
      const slave = openSync(slavePath, O_RDWR | O_NOCTTY);
      try {
        // iutf8: erasing takes a character, not a byte.
        await run(stty, [...sizeArguments(size), "iutf8"], slave);
        const used = await use(slave);
        return { terminal: new Terminal(master, slavePath), used };
      } finally {
        closeSync(slave);
      }
    } catch (error) {
      closeSync(master);
      throw error;
    }
  }

  /**
   * A master cannot be written to without blocking by Node, and each direction has to wait for itself alone: so each is copied by a
   * process, and its pipe is what the other side waits for.
   */
  private constructor(master: number, slavePath: string) {
    this.#master = master;
    this.#slavePath = slavePath;
    const typing = pump(["pipe", master, "ignore"]);
    const showing = pump([master, "pipe", "ignore"]);
    this.#pumps = [typing, showing];
    this.input = typing.stdin as Writable;
    this.output = showing.stdout as Readable;
  }

  /** The kernel tells the foreground of the terminal, by SIGWINCH. */
  async resize(size: TerminalSize): Promise<void> {
    if (!this.#isOpen) return;
    const slave = openSync(this.#slavePath, O_RDWR | O_NOCTTY);
    try {
      await run(stty, sizeArguments(size), slave);
    } finally {
      closeSync(slave);
    }
  }

  /** Hangs up: the kernel sends SIGHUP to the session, and what is still open of the terminal is dead. Safe to repeat. */
  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    for (const child of this.#pumps) child.kill("SIGKILL");
    closeSync(this.#master);
    this.output.destroy();
    this.input.destroy();
  }
}

function sizeArguments({ columns, rows }: TerminalSize): readonly string[] {
  return ["rows", String(rows), "cols", String(columns)];
}

function pump(stdio: StdioOptions): ChildProcess {
  const child = spawn(cat, [], { stdio });
  // One that cannot be started shows nothing: whoever called sees that and leaves, which hangs up.
  child.on("error", () => undefined);
  return child;
}

/** Runs a program with `descriptor` as its standard input. Rejects unless it ends with 0. */
async function run(program: string, parameters: readonly string[], descriptor: number): Promise<void> {
  const child = spawn(program, parameters, { stdio: [descriptor, "ignore", "ignore"] });
  const [code] = await once(child, "exit");
  if (code !== 0) throw new Error(`${program} ended with ${code}`);
}
