import { createProcessRunner, type ProcessRunner } from "../host/process.ts";

let sequence = 0;

/** An empty network namespace that is gone after the test. */
export interface Scratch extends AsyncDisposable {
  readonly path: string;
  /** Runs programs inside. */
  readonly runner: ProcessRunner;
}

export async function makeScratch(): Promise<Scratch> {
  const name = `lobnet-test-${process.pid}-scratch-${++sequence}`;
  const root = createProcessRunner();
  await root.run(["ip", "netns", "add", name]);
  const path = `/run/netns/${name}`;
  return {
    path,
    runner: createProcessRunner(path),
    async [Symbol.asyncDispose]() {
      await root.run(["ip", "netns", "delete", name]);
    },
  };
}
