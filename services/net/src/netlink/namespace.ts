import { closeSync, constants, openSync } from "node:fs";
import type { Libc } from "./libc.ts";

const newNetwork = 0x40000000;

/** The network namespace that this thread belongs to, kept open so that the way back does not depend on a path. */
let home: number | undefined;

/**
 * Runs `work` with the calling thread inside the network namespace of the file at `path`. What `work` opens stays there;
 * it must be synchronous, since anything else that ran meanwhile would act in the wrong namespace. Throws if the file is
 * not a namespace's. Ends the process if the way back fails: everything after would act in a tenant's namespace.
 */
export function withinNamespace<T>(libc: Libc, path: string, work: () => T): T {
  home ??= open("/proc/thread-self/ns/net");
  const target = open(path);
  try {
    libc.setns(target, newNetwork);
    try {
      return work();
    } finally {
      leave(libc, home);
    }
  } finally {
    closeSync(target);
  }
}

function leave(libc: Libc, home: number): void {
  try {
    libc.setns(home, newNetwork);
  } catch {
    process.abort();
  }
}

// Node adds O_CLOEXEC by itself. Without O_NONBLOCK, a pipe in the place of the file would hold the process up for ever.
function open(path: string): number {
  return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
}
