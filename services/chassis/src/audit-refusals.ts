import type { DescMethod } from "@bufbuild/protobuf";
import { type AuditEntry, type AuditSink, ownOutcome } from "./audit.ts";
import type { Logger } from "./logger.ts";

/** Refusals of one caller that are recorded one after the other, and how soon there is room for one more. */
const burst = 20;
const refillMs = 10_000;
/** Callers that are told apart. More share one allowance: their number is no way around the limit. */
const maxCallers = 1000;

/** A call that the gate did not let through. `caller` is the verified URI, or `""`. */
export interface Refusal {
  readonly caller: string;
  readonly method: DescMethod | undefined;
  readonly reason: string;
}

/** Records refused calls. */
export interface RefusalRecorder {
  refused(refusal: Refusal): void;
  /** Records what was suppressed and not yet said; to be called every minute. */
  flush(): void;
}

type Allowance = { tokens: number; sinceMs: number; suppressed: number };

/**
 * Records each refusal as an OUTCOME of its own, up to a rate for each caller: a flood of refused calls must not fill the log, nor push anybody
 * else's records aside. What is left out is counted, and the count is a record.
 */
export function recordRefusals(sink: AuditSink, logger: Logger, now: () => number = Date.now): RefusalRecorder {
  const callers = new Map<string, Allowance>();

  const allowanceOf = (caller: string): [string, Allowance] => {
    const key = callers.has(caller) || callers.size < maxCallers ? caller : "";
    const known = callers.get(key) ?? { tokens: burst, sinceMs: now(), suppressed: 0 };
    const refilled = Math.floor((now() - known.sinceMs) / refillMs);
    known.tokens = Math.min(burst, known.tokens + refilled);
    known.sinceMs += refilled * refillMs;
    callers.set(key, known);
    return [key, known];
  };
  const keep = (entry: AuditEntry): void => {
    sink.append(entry).catch((error: unknown) => {
      logger.error({ err: error, record: entry }, "audit record of a refused call could not be kept");
    });
  };
  const saySuppressed = (caller: string, allowance: Allowance): void => {
    if (allowance.suppressed === 0) return;
    const what = { action: "SuppressRefusals", resource: `refusals/${allowance.suppressed}` };
    keep({ ...refusedOutcome(what, "REFUSALS_SUPPRESSED"), actor: caller });
    allowance.suppressed = 0;
  };

  return {
    refused({ caller, method, reason }) {
      const [key, allowance] = allowanceOf(caller);
      if (allowance.tokens < 1) {
        allowance.suppressed += 1;
        return;
      }
      allowance.tokens -= 1;
      saySuppressed(key, allowance);
      const resource = method === undefined ? "" : `${method.parent.typeName}/${method.name}`;
      keep({ ...refusedOutcome({ action: method?.name ?? "UnknownMethod", resource }, reason), actor: caller });
    },
    flush() {
      for (const [caller, allowance] of callers) {
        saySuppressed(caller, allowance);
        const isFull = allowance.tokens + (now() - allowance.sinceMs) / refillMs >= burst;
        if (isFull) callers.delete(caller);
      }
    },
  };
}

function refusedOutcome(what: { action: string; resource: string }, reason: string): AuditEntry {
  return ownOutcome({ ...what, tenant: "", generation: 0, outcome: "refused", reason });
}
