import { on } from "node:events";
import { type Duplex, Readable, Writable } from "node:stream";
import { ServiceError } from "@lobsterd/chassis/errors.ts";
import { vmmFail } from "./port.ts";

/** No byte passes for this long: whoever reads or writes has stopped. */
const stalledAfterMs = 60_000;

/** A state on its way, counted and watched. */
export interface Flow {
  /** Aborts with the reason when it stalls or is ended early. */
  readonly signal: AbortSignal;
  /**
   * Passes on what it gets; TIMED_OUT by the signal when nothing comes or goes, VMM_FAILED beyond the limit. An abort destroys `source`, which
   * is what the generator may be waiting for.
   */
  watch(state: AsyncIterable<Buffer>, source: Readable | Duplex): AsyncGenerator<Buffer>;
  bytes(): number;
  abort(reason: unknown): void;
  /** The reason of an abort, for the failure that it caused in a pipeline; any other failure as it is. */
  cause(failure: unknown): unknown;
  /** Stops watching. */
  end(): void;
}

export function openFlow(limitBytes: number, stallMs = stalledAfterMs): Flow {
  const controller = new AbortController();
  let bytes = 0;
  const stalled = () => controller.abort(vmmFail("TIMED_OUT", `no byte of the state passed within ${stallMs} ms`));
  const timer = setTimeout(stalled, stallMs);
  return {
    signal: controller.signal,
    async *watch(state, source) {
      const abandon = () => source.destroy(controller.signal.reason);
      if (controller.signal.aborted) abandon();
      else controller.signal.addEventListener("abort", abandon);
      for await (const chunk of state) {
        bytes += chunk.length;
        if (!(bytes <= limitBytes)) throw vmmFail("VMM_FAILED", `the state is longer than ${limitBytes} bytes`);
        timer.refresh();
        yield chunk;
      }
    },
    bytes: () => bytes,
    abort: (reason) => controller.abort(reason),
    cause: (failure) =>
      controller.signal.aborted && ["AbortError", "AggregateError"].includes((failure as Error).name)
        ? controller.signal.reason
        : failure,
    end: () => clearTimeout(timer),
  };
}

/** So many pieces of a socket, of 64 KiB at most, wait to be taken before it is paused, and so few before it goes on. */
const arrivals = { highWaterMark: 16, lowWaterMark: 4 };

/**
 * What comes out of a channel, in the pieces in which it comes: a stream's own iterator joins what has come meanwhile, and the copies are most of what reading costs. Throws what
 * the channel failed with, also when it was closed before its end.
 */
export async function* arriving(channel: Readable): AsyncGenerator<Buffer> {
  if (!channel.destroyed)
    for await (const [piece] of on(channel, "data", { close: ["end", "close"], ...arrivals })) yield piece;
  if (!channel.readableEnded) throw channel.errored ?? new Error("the channel was closed before its end");
}

/** What a VMM's channel fails with as a failure of the port: it is gone. */
export function portFailure(error: unknown): unknown {
  if (error instanceof ServiceError) return error;
  const { code } = error as NodeJS.ErrnoException;
  const message = "the VMM ended, or cut the state off";
  return vmmFail("VMM_FAILED", code === undefined ? message : `${message} (${code})`, { cause: error });
}

export async function* mapFailures(state: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  try {
    yield* state;
  } catch (error) {
    throw portFailure(error);
  }
}

/** Reads what the caller gives, whose own failure is told as it is. */
export function noteFailure<Piece extends Uint8Array>(given: Readable | AsyncIterable<Piece>) {
  let failure: unknown;
  // A stream may fail before it is read, which then tells it.
  if (given instanceof Readable) given.on("error", () => {});
  return {
    failure: () => failure,
    async *read(): AsyncGenerator<Piece> {
      try {
        yield* given as AsyncIterable<Piece>;
      } catch (error) {
        failure = error;
        throw error;
      }
    },
  };
}

/**
 * The channel's writing side, which only this side ends. Takes a piece when the one before is with the kernel, so that this may be given back. As the destination of a pipeline, a socket whose peer has closed it ends by itself,
 * and a pipeline that still waits for its source waits for ever then: QEMU closes when it has the whole state, which is before that was read here.
 */
export function writesTo(channel: Duplex): Writable {
  return new Writable({ highWaterMark: 1, write: (chunk, _encoding, done) => void channel.write(chunk, done) });
}
