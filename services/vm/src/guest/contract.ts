/** What is made of a guest's failures: nothing of what it says, and always that guest's own fault. */
import { Code, ConnectError } from "@connectrpc/connect";
import { ServiceError } from "@lobsterd/chassis/errors.ts";
import { fail } from "../errors.ts";
import { vmMetrics } from "../metrics.ts";

export function misbehaved(cause?: unknown): ServiceError {
  vmMetrics.misbehaviours.add(1);
  return fail("GUEST_MISBEHAVED", "the guest's agent gave an answer outside its contract", { cause });
}

/** An answer that the client found outside the contract is the guest's fault, and no reason to ask again. */
export async function withinContract<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (cause) {
    if (cause instanceof ConnectError && cause.code === Code.DataLoss) throw misbehaved(cause);
    throw cause;
  }
}

/** Of an answer's error only the code is left by the client, and nothing on this side fails with this one. */
export function isRefusal(error: unknown): boolean {
  const cause = error instanceof ServiceError ? error.cause : error;
  return cause instanceof ConnectError && cause.code === Code.FailedPrecondition;
}

/** Any other failure of a call is GUEST_UNREACHABLE. */
export async function reachable<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (cause) {
    if (cause instanceof ServiceError) throw cause;
    throw fail("GUEST_UNREACHABLE", "the guest's agent did not do what it was asked", { cause });
  }
}

/**
 * The same for a stream, which the guest may also have too many of: GUEST_BUSY. A reader that leaves ends the call, which the RPC library's
 * own iterators do not.
 */
export async function* streamOf<T>(
  open: (signal: AbortSignal) => AsyncIterable<T>,
  signal: AbortSignal,
): AsyncGenerator<T> {
  const left = new AbortController();
  try {
    yield* open(AbortSignal.any([signal, left.signal]));
  } catch (cause) {
    if (cause instanceof ServiceError) throw cause;
    // What our own side's input threw comes back wrapped.
    if (cause instanceof ConnectError && cause.cause instanceof ServiceError) throw cause.cause;
    const code = cause instanceof ConnectError ? cause.code : Code.Unknown;
    if (code === Code.DataLoss) throw misbehaved(cause);
    if (code === Code.ResourceExhausted)
      throw fail("GUEST_BUSY", "the guest has as many of these as it serves at once");
    throw fail("GUEST_UNREACHABLE", "the guest's agent went away", { cause });
  } finally {
    left.abort();
  }
}
