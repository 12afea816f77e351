import { createServer } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

/** Somebody else holds the lock. */
export class LockHeldError extends Error {
  override readonly name = "LockHeldError";
}

/**
 * Holds a lock of the machine while `work` runs: one start or stop of an instance at a time. An abstract socket, because
 * the kernel releases it with the process, however that ends. Throws `LockHeldError` at once if somebody else holds it.
 */
export async function withLock<T>(name: string, work: () => Promise<T>): Promise<T> {
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) =>
      reject(
        error.code === "EADDRINUSE"
          ? new LockHeldError(`${name} is being started or stopped by another process`)
          : error,
      ),
    );
    server.listen(`\0lobsterd-runner-${name}`, () => resolve());
  });
  try {
    return await work();
  } finally {
    await new Promise<void>((resolve) => server.close(() => resolve()));
  }
}

/** Like `withLock` for what all instances share, but waits up to `limitMs` for its turn. */
export async function withSharedLock<T>(work: () => Promise<T>, limitMs = 10 * 60_000): Promise<T> {
  const deadline = performance.now() + limitMs;
  for (;;) {
    try {
      return await withLock("machine", work);
    } catch (error) {
      if (!(error instanceof LockHeldError) || performance.now() > deadline) throw error;
      await delay(200);
    }
  }
}
