import { spawn } from "node:child_process";
import { once } from "node:events";
import type { Readable } from "node:stream";
import { run } from "./git.ts";

/** A file's or a commit's content, as it is or once was in the repository. */
export interface HistoryObject {
  readonly id: string;
  /** One path that the content had; of a commit, `commit`. */
  readonly path: string;
  readonly content: Buffer;
}

/**
 * Every file version and commit message that `HEAD` and the index reach, each once. Throws if the history is cut short: what is not there
 * cannot be searched.
 */
export async function* historyObjects(repository: string): AsyncGenerator<HistoryObject> {
  if ((await run(repository, "rev-parse", "--is-shallow-repository")).trim() === "true") {
    throw new Error("the history is shallow; fetch all of it (git fetch --unshallow)");
  }
  const paths = new Map<string, string>();
  for (const line of (await run(repository, "rev-list", "--objects", "HEAD")).split("\n")) {
    const [id = "", ...path] = line.split(" ");
    if (id !== "") paths.set(id, path.join(" "));
  }
  for (const line of (await run(repository, "ls-files", "--stage")).split("\n")) {
    const [, id, path] = /^\d+ ([0-9a-f]+) \d+\t(.*)$/.exec(line) ?? [];
    if (id !== undefined) paths.set(id, path ?? "");
  }
  const batch = spawn("git", ["-C", repository, "cat-file", "--batch", "--buffer"], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const exited = once(batch, "exit");
  batch.stdin.end([...paths.keys()].join("\n"));
  for await (const { id, type, content } of batchObjects(batch.stdout)) {
    if (type === "blob") yield { id, path: paths.get(id) ?? "", content };
    if (type === "commit") yield { id, path: "commit", content };
  }
  await exited;
  if (batch.exitCode !== 0) throw new Error(`git cat-file ended with ${batch.exitCode}`);
}

/** Reads `<id> <type> <size>`, a newline, the content and a newline, again and again. */
async function* batchObjects(stream: Readable): AsyncGenerator<{ id: string; type: string; content: Buffer }> {
  let pending: Buffer[] = [];
  let size = 0;
  let wanted = 0;
  for await (const chunk of stream) {
    pending.push(chunk);
    size += chunk.length;
    // Joined only when an object is whole: joining at every chunk would copy a large file again and again.
    if (size < wanted) continue;
    let buffer: Buffer = Buffer.concat(pending);
    wanted = 0;
    for (;;) {
      const end = buffer.indexOf(10);
      if (end === -1) break;
      const [id = "", type = "", length = ""] = buffer.subarray(0, end).toString("latin1").split(" ");
      if (!/^\d+$/.test(length)) throw new Error(`git has not the object ${id}`);
      const whole = end + 1 + Number(length) + 1;
      if (buffer.length < whole) {
        wanted = whole;
        break;
      }
      yield { id, type, content: buffer.subarray(end + 1, whole - 1) };
      buffer = buffer.subarray(whole);
    }
    pending = [buffer];
    size = buffer.length;
  }
}
