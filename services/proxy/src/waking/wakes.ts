/**
 * Requests to sleeping tenants wait here while `vm` is asked to wake them. `vm` decides whether it does; what is decided here is only how many wait.
 *
 *  1. One question for one tenant at a time, however many requests wait for its answer.
 *  2. A request waits until its tenant's route is awake, is gone, is refused or the time is up; whichever is first.
 *  3. Every number has a bound: requests of one tenant, requests in all, tenants asked about at a time, time of each. What is above is refused at once.
 *  4. A refusal holds until its time is over, and `vm` is not asked meanwhile: who scans sleeping names costs it one question per tenant, or one in all
 *     once the host is busy.
 *  5. Nothing here is durable: after a restart of this service the next request asks again, and `vm` has one resume per tenant whoever asks.
 */

import { setTimeout as delay } from "node:timers/promises";
import type { StoredRoute } from "../directory/route-store.ts";
import type { AskVm, HeldAnswer, HeldRequestOutcome, WakeVerdict } from "./wake.ts";

export type WakeLimits = {
  /** How long a request is held at most. */
  readonly holdLimitMs: number;
  readonly maxHeld: number;
  readonly maxHeldPerTenant: number;
  /** Tenants that `vm` is asked about at the same time. */
  readonly maxQuestions: number;
};

export interface Wakes {
  /** Holds a request for a tenant until rule 2. `left` aborts when whoever asked has gone away. */
  hold(tenant: string, left: AbortSignal): Promise<HeldAnswer>;
  /** A route was published, put to sleep or withdrawn. */
  routeChanged(tenant: string): void;
  /** Requests that wait now. */
  held(): number;
}

export interface WakeParts {
  readonly find: (tenant: string) => StoredRoute | undefined;
  readonly ask: AskVm;
  readonly limits: WakeLimits;
  /** Monotonic milliseconds. */
  readonly nowMs: () => number;
  readonly told: {
    /** One question came to its end. */
    wakeEnded(tenant: string, verdict: WakeVerdict): void;
    /** One request was answered. */
    requestReleased(how: HeldRequestOutcome): void;
  };
}

/** When to try again where nobody said it. */
const shortRetryS = 5;
const askAgainMs = 500;

/** Why a request waits no more. */
type Release = HeldAnswer | { readonly kind: "overdue" } | { readonly kind: "left" };

type Question = { readonly waiting: Set<(release: Release) => void>; readonly over: AbortController };
type Refusal = { readonly untilMs: number };

export function createWakes({ find, ask, limits, nowMs, told }: WakeParts): Wakes {
  const questions = new Map<string, Question>();
  const refusals = new Map<string, Refusal>();
  let hostRefusal: Refusal = { untilMs: 0 };
  let held = 0;

  function settle(tenant: string, answer: HeldAnswer): void {
    const question = questions.get(tenant);
    if (question === undefined) return;
    questions.delete(tenant);
    question.over.abort();
    for (const release of question.waiting) release(answer);
  }

  function secondsLeft(tenant: string): number {
    const untilMs = Math.max(hostRefusal.untilMs, refusals.get(tenant)?.untilMs ?? 0);
    return Math.max(0, Math.ceil((untilMs - nowMs()) / 1000));
  }

  function remember(tenant: string, verdict: WakeVerdict & { kind: "refused" }): void {
    const refusal = { untilMs: nowMs() + verdict.retryAfterS * 1000 };
    if (verdict.scope === "host") hostRefusal = refusal;
    else refusals.set(tenant, refusal);
    for (const [name, { untilMs }] of refusals) if (untilMs <= nowMs()) refusals.delete(name);
  }

  /** Asks until there is an answer, the route changed, or the time is up. A question that was put is not taken back: `vm` records how it ends. */
  async function pursue({ tenant, vmId }: StoredRoute, { over }: Question): Promise<void> {
    const overdue = AbortSignal.timeout(limits.holdLimitMs);
    const until = AbortSignal.any([over.signal, overdue]);
    let verdict: WakeVerdict = { kind: "unknown", reason: "OVERDUE" };
    while (!until.aborted) {
      verdict = await ask(tenant, vmId, overdue);
      if (verdict.kind !== "unknown") break;
      await delay(askAgainMs, undefined, { signal: until }).catch(() => undefined);
    }
    told.wakeEnded(tenant, verdict);
    if (over.signal.aborted) return;
    if (verdict.kind === "refused") remember(tenant, verdict);
    const isAwake = verdict.kind === "awake" && find(tenant)?.state === "awake";
    const retryAfterS = verdict.kind === "refused" ? verdict.retryAfterS : shortRetryS;
    settle(tenant, isAwake ? { kind: "awake" } : { kind: "refused", retryAfterS });
  }

  /** The question about a tenant, or `undefined` if there are too many. */
  function questionOf(route: StoredRoute): Question | undefined {
    const known = questions.get(route.tenant);
    if (known !== undefined) return known;
    if (questions.size >= limits.maxQuestions) return undefined;
    const question: Question = { waiting: new Set(), over: new AbortController() };
    questions.set(route.tenant, question);
    void pursue(route, question);
    return question;
  }

  async function wait({ waiting }: Question, left: AbortSignal): Promise<HeldAnswer> {
    const { promise, resolve } = Promise.withResolvers<Release>();
    const leave = () => resolve({ kind: "left" });
    const overdue = setTimeout(() => resolve({ kind: "overdue" }), limits.holdLimitMs);
    left.addEventListener("abort", leave, { once: true });
    waiting.add(resolve);
    held += 1;
    const release = await promise;
    held -= 1;
    waiting.delete(resolve);
    left.removeEventListener("abort", leave);
    clearTimeout(overdue);
    told.requestReleased(release.kind);
    return release.kind === "overdue" || release.kind === "left"
      ? { kind: "refused", retryAfterS: shortRetryS }
      : release;
  }

  return {
    held: () => held,
    routeChanged(tenant) {
      const route = find(tenant);
      if (route?.state === "asleep") return;
      refusals.delete(tenant);
      settle(tenant, route === undefined ? { kind: "gone" } : { kind: "awake" });
    },
    async hold(tenant, left) {
      const route = find(tenant);
      if (route === undefined) return { kind: "gone" };
      if (route.state === "awake") return { kind: "awake" };
      const refuse = (retryAfterS: number): HeldAnswer => {
        told.requestReleased("full");
        return { kind: "refused", retryAfterS };
      };
      const waitS = questions.has(tenant) ? 0 : secondsLeft(tenant);
      if (waitS > 0) {
        told.requestReleased("refused");
        return { kind: "refused", retryAfterS: waitS };
      }
      if (held >= limits.maxHeld) return refuse(shortRetryS);
      const question = questionOf(route);
      if (question === undefined || question.waiting.size >= limits.maxHeldPerTenant) return refuse(shortRetryS);
      return await wait(question, left);
    },
  };
}
