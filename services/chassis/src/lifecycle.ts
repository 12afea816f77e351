import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "./logger.ts";
import { createLogger } from "./logger.ts";
import { flushTraces } from "./tracing.ts";

const defaultStopLimitMs = 10_000;
const telemetryLimitMs = 1000;

/** One run of a process, from start to graceful stop. */
export interface ServiceScope {
  /** Aborts when the process begins to stop. */
  readonly signal: AbortSignal;
  /** Registers a step of the stop; steps run one after the other, the last registered first. */
  onClose(close: () => void | Promise<void>): void;
  /** Replaces the logger of this scope once the service has its own; used for the stop and for a crash. */
  useLogger(logger: Logger): void;
  /** Bounds the whole stop, by default 10 s. */
  limitStop(limitMs: number): void;
}

/**
 * Runs a process: `start`, then until SIGTERM or SIGINT, then the registered steps in reverse order within the bound. The exit status is
 * 0 after a clean stop and 1 after a failed start, a failed or overdue stop, or an error nobody handled: state that
 * nobody understands is not served from, and the process manager starts a fresh one.
 */
export function runService(start: (scope: ServiceScope) => Promise<void>): void {
  const stopping = new AbortController();
  const steps: Array<() => void | Promise<void>> = [];
  let logger = createLogger({ service: "starting" });
  let stopLimitMs = defaultStopLimitMs;

  const crash = (error: unknown, origin: string): void => {
    logger.fatal({ err: error, origin }, "unhandled error, exiting");
    process.exit(1);
  };
  process.on("unhandledRejection", (error) => crash(error, "unhandledRejection"));
  process.on("uncaughtException", (error) => crash(error, "uncaughtException"));

  const stop = async (cause: string, status: number): Promise<void> => {
    if (stopping.signal.aborted) return;
    stopping.abort(new Error(`stopping: ${cause}`));
    logger.info({ cause }, "stopping");
    const overdue = setTimeout(() => {
      logger.error({ limitMs: stopLimitMs }, "stop took too long, exiting");
      process.exit(1);
    }, stopLimitMs);
    const failures = await closeAll(steps, logger);
    clearTimeout(overdue);
    await Promise.race([flushTraces(), delay(telemetryLimitMs)]);
    logger.info({ cause, failures }, "stopped");
    process.exit(failures > 0 ? 1 : status);
  };
  for (const name of ["SIGTERM", "SIGINT"] as const) {
    process.on(name, () => void stop(name, 0));
  }

  const scope: ServiceScope = {
    signal: stopping.signal,
    onClose: (close) => void steps.push(close),
    useLogger: (next) => {
      logger = next;
    },
    limitStop: (limitMs) => {
      stopLimitMs = limitMs;
    },
  };
  start(scope).catch((error: unknown) => {
    if (!stopping.signal.aborted) logger.fatal({ err: error }, "start failed");
    return stop("start failed", 1);
  });
}

/**
 * Polls `probe` until it returns something other than `undefined`, and returns that. Throws after `timeoutMs`, naming
 * `what`, and as soon as `signal` aborts. An error of `probe` ends the wait: a probe translates the failures it expects.
 */
export async function waitFor<T>(
  what: string,
  probe: () => Promise<T | undefined>,
  limits: { timeoutMs: number; intervalMs: number; signal?: AbortSignal },
): Promise<T> {
  const deadline = performance.now() + limits.timeoutMs;
  for (;;) {
    limits.signal?.throwIfAborted();
    const found = await probe();
    if (found !== undefined) return found;
    const leftMs = deadline - performance.now();
    if (leftMs <= 0) throw new Error(`${what} did not happen within ${limits.timeoutMs} ms`);
    await delay(
      Math.min(limits.intervalMs, leftMs),
      undefined,
      limits.signal === undefined ? {} : { signal: limits.signal },
    );
  }
}

/**
 * Runs `fn` now and then `intervalMs` after each run ended, until `signal` aborts; so runs never overlap. A failure is
 * logged and the next run comes as usual.
 */
export function every(
  intervalMs: number,
  name: string,
  fn: () => Promise<void>,
  options: { signal: AbortSignal; logger: Logger },
): void {
  const loop = async (): Promise<void> => {
    while (!options.signal.aborted) {
      try {
        await fn();
      } catch (error) {
        if (!options.signal.aborted) options.logger.error({ err: error, task: name }, "periodic task failed");
      }
      await delay(intervalMs, undefined, { signal: options.signal, ref: false }).catch(() => undefined);
    }
  };
  void loop();
}

async function closeAll(steps: Array<() => void | Promise<void>>, logger: Logger): Promise<number> {
  let failures = 0;
  for (let step = steps.pop(); step !== undefined; step = steps.pop()) {
    try {
      await step();
    } catch (error) {
      failures += 1;
      logger.error({ err: error }, "a step of the stop failed");
    }
  }
  return failures;
}
