#!/usr/bin/env node
/** The `lobster` command. */
import { setTimeout as delay } from "node:timers/promises";
import type { Clock } from "./command.ts";
import { processIo } from "./io.ts";
import { run } from "./run.ts";

const clock: Clock = {
  now: Date.now,
  sleep: (ms, signal) => delay(ms, undefined, { signal }).catch(() => undefined),
};
const interruption = new AbortController();
process.once("SIGINT", () => interruption.abort());
// `lobster ls | head -1`: the reader has what it wanted.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  process.exit(error.code === "EPIPE" ? 0 : 1);
});

const status = await run(process.argv.slice(2), {
  io: processIo(),
  environment: process.env,
  signal: interruption.signal,
  clock,
});
// Connections to the services are kept for the next call; there is none. A write to a pipe or a file has ended when it returns.
process.exit(status);
