import { createHash } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { Message } from "@bufbuild/protobuf";
import { Code, ConnectError, type Interceptor, type StreamRequest } from "@connectrpc/connect";
import { uuidv7 } from "uuidv7";
import type { AuditEntry, AuditPolicy, AuditRule, AuditSink, AuditTarget } from "./audit.ts";
import { nextNumber } from "./audit-record.ts";
import { callerKey } from "./caller.ts";
import { chassisMetrics } from "./chassis-metrics.ts";
import { codeName, defineErrors, reasonOf, toConnectError } from "./errors.ts";
import type { Logger } from "./logger.ts";
import { onBehalfOfKey } from "./on-behalf-of.ts";
import { withoutSecrets } from "./redacted-message.ts";
import { hookMessages } from "./streams.ts";
import { currentTraceId } from "./tracing.ts";

type Request = Parameters<ReturnType<Interceptor>>[0];

/** How long a widening call waits for audit, in all. */
const wideningLimitMs = 2000;
/** How long a narrowing call, or a finished one, waits for audit before its record goes to the spool. */
const spoolAfterMs = 500;
const retryMs = 100;

/** Failures that say "not done because not allowed, not valid or not possible now", rather than "tried and failed". */
const refusals = new Set([
  Code.InvalidArgument,
  Code.OutOfRange,
  Code.Unauthenticated,
  Code.PermissionDenied,
  Code.NotFound,
  Code.AlreadyExists,
  Code.FailedPrecondition,
  Code.ResourceExhausted,
  Code.Unimplemented,
]);

const fail = defineErrors("lobsterd", { AUDIT_UNAVAILABLE: Code.Unavailable });

/**
 * Records each call of a method in the policy: INTENT before its handler, OUTCOME after it.
 *
 * 1. A widening call whose INTENT is not durable within 2 s is refused (UNAVAILABLE, AUDIT_UNAVAILABLE) and its handler
 *    never runs.
 * 2. A narrowing call does not wait for audit to come back: its INTENT goes to the spool instead.
 * 3. An OUTCOME that audit does not take goes to the spool in both cases, since the effect has happened.
 * 4. A rule may have its OUTCOME in the spool first, which hands it on to audit after the answer.
 * 5. A request that validation refuses after this point has an OUTCOME too.
 * 6. What the process dies in before its OUTCOME was kept gets one at the next start (`audit-open-calls.ts`).
 */
export function auditCalls(policy: AuditPolicy, logger: Logger, limitMs = wideningLimitMs): Interceptor {
  const recorder = createRecorder(policy, logger, limitMs);
  return (next) => async (request) => {
    const rule = policy.methods[request.method.name];
    if (rule === undefined) return await next(request);
    if (!request.stream) {
      const call = await recorder.intent(rule, request, request.message);
      return await recorder.settle(call, () => next(request));
    }
    const [first, messages] = await takeFirst(request);
    const call = await recorder.intent(rule, request, first);
    const response = await recorder.settle(call, () => next({ ...request, message: messages }), { isOpen: true });
    if (!response.stream) return response;
    return { ...response, message: hookMessages(response.message, { end: (error) => recorder.outcome(call, error) }) };
  };
}

type Facts = Omit<AuditEntry, "eventId" | "time" | "phase" | "outcome" | "reason" | "writerBootId" | "writerSequence">;
/** The event id of the OUTCOME is chosen with the INTENT, so that a call has one OUTCOME whoever writes it. */
type Call = { readonly rule: AuditRule; readonly facts: Facts; readonly outcomeId: string };

function createRecorder(policy: AuditPolicy, logger: Logger, limitMs: number) {
  const audit = { place: "audit", sink: policy.sink, limitMs: spoolAfterMs };
  const spool = { place: "spool", sink: policy.spool, limitMs };

  /** Keeps a record in the first place that takes it. */
  async function keep(entry: AuditEntry, places: readonly (typeof audit)[]): Promise<void> {
    for (const { place, sink, limitMs: placeLimitMs } of places) {
      try {
        await within(placeLimitMs, sink.append(entry));
        return;
      } catch (error) {
        logger.warn({ err: error, action: entry.action, place }, "audit record was not taken");
      }
    }
    // The last place that can hold the record is the log; a kill or an evict goes on regardless.
    chassisMetrics.recordsLost.add(1);
    logger.error({ record: entry }, "audit record could not be kept");
  }

  /** Notes, beside the INTENT on its way to audit, what closes the call if this process dies in it. */
  function begin({ facts, outcomeId }: Call): void {
    const result = { phase: "outcome", outcome: "unknown", reason: "WRITER_ENDED" } as const;
    policy.openCalls?.begin({ ...stamp(facts, result), eventId: outcomeId });
  }

  async function intent(rule: AuditRule, request: Request, message: Message | undefined): Promise<Call> {
    const call = { rule, facts: describeCall(rule, request, message, logger), outcomeId: uuidv7() };
    const entry = stamp(call.facts, { phase: "intent", outcome: "unspecified", reason: "" });
    if (rule.kind === "narrowing") {
      const kept = keep(entry, [audit, spool]);
      try {
        begin(call);
      } catch (error) {
        logger.error(
          { err: error, action: entry.action },
          "a call that takes away goes on without a note that it is open",
        );
      }
      await kept;
      return call;
    }
    try {
      const appended = appendPatiently(policy.sink, entry, limitMs);
      appended.catch(() => undefined);
      begin(call);
      await within(limitMs, appended);
    } catch (error) {
      // Audit may have kept the INTENT and answered too late: then the log says how the call ended, too.
      const refused = { phase: "outcome", outcome: "refused", reason: "AUDIT_UNAVAILABLE" } as const;
      await keep({ ...stamp(call.facts, refused), eventId: call.outcomeId }, [spool]);
      policy.openCalls?.end(call.outcomeId);
      throw fail("AUDIT_UNAVAILABLE", "the operation cannot be recorded, so it is not done", { cause: error });
    }
    return call;
  }

  async function outcome({ rule, facts, outcomeId }: Call, error: unknown): Promise<void> {
    const entry = { ...stamp(facts, outcomeOf(error)), eventId: outcomeId };
    await keep(entry, rule.outcome === "spool" ? [spool, audit] : [audit, spool]);
    policy.openCalls?.end(outcomeId);
  }

  async function settle<T>(
    call: Call,
    run: () => Promise<T>,
    stream: { isOpen: boolean } = { isOpen: false },
  ): Promise<T> {
    let result: T;
    try {
      result = await run();
    } catch (error) {
      await outcome(call, error);
      throw error;
    }
    if (!stream.isOpen) await outcome(call, undefined);
    return result;
  }

  return { intent, outcome, settle };
}

function describeCall(rule: AuditRule, request: Request, message: Message | undefined, logger: Logger): Facts {
  let target: AuditTarget = { tenant: "", resource: "" };
  try {
    if (message !== undefined) target = rule.describe(message);
  } catch (error) {
    // The request is not validated yet; validation refuses what a description cannot read.
    logger.debug({ err: error }, "request could not be described for audit");
  }
  return {
    actor: request.contextValues.get(callerKey)?.uri ?? "",
    onBehalfOf: request.contextValues.get(onBehalfOfKey),
    action: request.method.name,
    tenant: target.tenant,
    resource: target.resource,
    requestDigest: message === undefined ? "" : digestOf(request, message),
    traceId: currentTraceId(),
    generation: target.generation ?? 0,
  };
}

function digestOf(request: Request, message: Message): string {
  return createHash("sha256").update(withoutSecrets(request.method.input, message)).digest("hex");
}

function stamp(call: Facts, result: Pick<AuditEntry, "phase" | "outcome" | "reason">): AuditEntry {
  return { ...call, ...result, ...nextNumber(), eventId: uuidv7(), time: new Date() };
}

function outcomeOf(error: unknown): Pick<AuditEntry, "phase" | "outcome" | "reason"> {
  if (error === undefined) return { phase: "outcome", outcome: "success", reason: "" };
  const wire = error instanceof ConnectError ? error : toConnectError(error);
  return {
    phase: "outcome",
    outcome: refusals.has(wire.code) ? "refused" : "failure",
    reason: reasonOf(wire) ?? codeName(wire.code),
  };
}

async function takeFirst(request: StreamRequest): Promise<[Message | undefined, AsyncIterable<Message>]> {
  const iterator = request.message[Symbol.asyncIterator]();
  const first = await iterator.next();
  let pending: IteratorResult<Message> | undefined = first;
  const messages: AsyncIterable<Message> = {
    [Symbol.asyncIterator]: () => ({
      next: () => {
        const taken = pending;
        pending = undefined;
        return taken === undefined ? iterator.next() : Promise.resolve(taken);
      },
      return: (value?: unknown) => iterator.return?.(value) ?? Promise.resolve({ done: true, value: undefined }),
      throw: (error?: unknown) => iterator.throw?.(error) ?? Promise.reject(error),
    }),
  };
  return [first.done === true ? undefined : first.value, messages];
}

/** Appends, again and again while audit is away: it may be restarting. */
async function appendPatiently(sink: AuditSink, entry: AuditEntry, limitMs: number): Promise<void> {
  const deadline = performance.now() + limitMs;
  for (;;) {
    try {
      await sink.append(entry);
      return;
    } catch (error) {
      const isAway = error instanceof ConnectError && error.code === Code.Unavailable;
      if (!isAway || performance.now() + retryMs >= deadline) throw error;
      await delay(retryMs);
    }
  }
}

async function within<T>(limitMs: number, promise: Promise<T>): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`audit did not answer within ${limitMs} ms`)), limitMs);
  promise.catch(() => undefined);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
