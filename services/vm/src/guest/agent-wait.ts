/** Waits for a guest that boots: `agent.ts` has the invariants of the channel. */
import { connect } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { ServiceError } from "@lobsterd/chassis/errors.ts";

/** Pause between attempts to reach a guest that is still booting. A refused SYN is cheap; a guest that is up is found at once. */
const retryMs = 20;
/** A guest without a configured link answers nothing: give up on the SYN early, as a repeated one comes only after 1 s. */
const connectLimitMs = 250;

/** Resolves when the address accepts a connection. Throws once it has refused them for `refusedLimitMs` on end, and when `signal` aborts. */
export async function untilListening(
  address: { host: string; port: number },
  refusedLimitMs: number,
  signal: AbortSignal,
): Promise<void> {
  let refusedSinceMs: number | undefined;
  for (;;) {
    signal.throwIfAborted();
    const answer = await dial(address);
    if (answer === "accepted") return;
    refusedSinceMs = answer === "refused" ? (refusedSinceMs ?? performance.now()) : undefined;
    if (refusedSinceMs !== undefined && performance.now() - refusedSinceMs > refusedLimitMs)
      throw new Error(`the guest refused connections for ${refusedLimitMs} ms`);
    await delay(retryMs, undefined, { signal });
  }
}

/**
 * A guest that boots can be slow to answer, and its agent closes connections that were idle: neither says that the guest will
 * not answer. Only an answer outside the contract ends the wait before the limit does.
 */
export async function untilAnswered<T>(call: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (signal.aborted || error instanceof ServiceError) throw error;
      await delay(retryMs, undefined, { signal });
    }
  }
}

function dial(address: { host: string; port: number }): Promise<"accepted" | "refused" | "silent"> {
  return new Promise((resolve) => {
    const socket = connect(address);
    const settle = (answer: "accepted" | "refused" | "silent") => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(connectLimitMs, () => settle("silent"));
    socket.once("connect", () => settle("accepted"));
    socket.once("error", (error: NodeJS.ErrnoException) =>
      settle(error.code === "ECONNREFUSED" ? "refused" : "silent"),
    );
  });
}
