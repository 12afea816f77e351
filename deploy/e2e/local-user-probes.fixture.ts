/**
 * Tries things as whoever runs it and prints, as JSON, what came of each: "done", or the kernel's error. Standard input has the probes.
 * It has no import from the project: an ordinary user runs it.
 */
import { spawnSync } from "node:child_process";
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { connect } from "node:net";
import { text } from "node:stream/consumers";

export interface Probe {
  readonly attempt:
    | "connect"
    | "read"
    | "write"
    | "list"
    | "follow"
    | "signal"
    | "enter"
    | "make-directory"
    | "make-link"
    | "make-fifo"
    | "make-file";
  /** Path, or process number of "signal". */
  readonly target: string;
}

const attempts: Readonly<Record<Probe["attempt"], (target: string) => void | Promise<void>>> = {
  connect: (path) =>
    new Promise((resolve, reject) => {
      const socket = connect(path, () => resolve(void socket.destroy()));
      socket.once("error", reject);
    }),
  read(path) {
    const descriptor = openSync(path, "r");
    readSync(descriptor, Buffer.alloc(1), 0, 1, 0);
    closeSync(descriptor);
  },
  write: (path) => closeSync(openSync(path, "r+")),
  list: (path) => void readdirSync(path),
  follow: (path) => void readlinkSync(path),
  // Signal 0 is refused like any other and hurts nobody where it is not.
  signal: (pid) => void process.kill(Number(pid), 0),
  enter: (path) => run("nsenter", `--net=${path}`, "true"),
  "make-directory": (path) => void mkdirSync(path),
  "make-link": (path) => symlinkSync("/etc/passwd", path),
  "make-fifo": (path) => run("mkfifo", path),
  "make-file": (path) => writeFileSync(path, "1\n", { flag: "w" }),
};

function run(program: string, ...parameters: string[]): void {
  const { status, stderr } = spawnSync(program, parameters, { encoding: "utf8", timeout: 5_000 });
  if (status === 0) return;
  const code = stderr.includes("Permission denied") ? "EACCES" : stderr.includes("not permitted") ? "EPERM" : stderr;
  throw Object.assign(new Error(stderr), { code });
}

if (import.meta.main) {
  const outcomes: string[] = [];
  for (const { attempt, target } of JSON.parse(await text(process.stdin)) as Probe[]) {
    try {
      await attempts[attempt](target);
      outcomes.push("done");
    } catch (error) {
      outcomes.push((error as NodeJS.ErrnoException).code ?? String(error));
    }
  }
  process.stdout.write(JSON.stringify(outcomes));
}
