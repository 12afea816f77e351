import { setTimeout as delay } from "node:timers/promises";
import { type AuditSink, ownOutcome } from "@lobsterd/chassis/audit.ts";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { every } from "@lobsterd/chassis/lifecycle.ts";
import type { Logger } from "@lobsterd/chassis/logger.ts";
import { fail } from "../errors.ts";
import type { SecretEvents } from "../events.ts";
import type { SealedSecrets } from "../sealed/sealed-secrets.ts";
import { encodeTarget } from "../sealed/targets.ts";
import type { DeliveryStore } from "../store/delivery-store.ts";
import type { GuestSession, IdentityStore } from "../store/identity-store.ts";
import type { Deliveries } from "./deliveries.ts";

const firstRetryMs = 100;
const longestRetryMs = 5_000;
const maxAtOnce = 8;

/**
 * Keeps running guests at the newest version of what is bound for them.
 *
 * 1. A guest is behind when what it has differs from what it has to have in name, version or place. Whoever changes a secret calls `check`;
 *    start and a periodic sweep call it for everyone, so a change that a crash cut off is delivered too.
 * 2. Each run is one lease: INTENT in audit before a secret is opened, and nothing is sent without it; OUTCOME after; over after `leaseMs`.
 * 3. One run at a time for a microVM, a bounded number at once. A change during a run is seen at its end.
 * 4. A guest whose identity is gone is not sent to again, and a delivery under way to it is cut.
 */
export interface Rotation {
  /** Looks at the guests of `owner`, a tenant or `""` for all, and delivers to those that are behind. Returns at once. */
  check(owner: string): void;
  /** Ends what is under way; nothing is lost, the next start goes on. */
  close(): Promise<void>;
}

export interface RotationParts {
  readonly identities: IdentityStore;
  readonly sealed: SealedSecrets;
  readonly store: DeliveryStore;
  readonly deliveries: Deliveries;
  readonly audit: AuditSink;
  readonly spool: AuditSink;
  readonly events: SecretEvents;
  readonly logger: Logger;
  readonly leaseMs: number;
  /** Bound of one try. */
  readonly tryLimitMs: number;
  readonly sweepIntervalMs: number;
}

export function openRotation(parts: RotationParts): Rotation {
  const { identities, sealed, store, logger } = parts;
  const closing = new AbortController();
  const waiting = new Set<string>();
  const running = new Map<string, Promise<void>>();

  function isBehind({ vmId, tenant, labels }: GuestSession): boolean {
    const facts = (owner: string, name: string, version: number, target: string) =>
      [owner, name, version, target].join("\n");
    const has = store.list(vmId).map(({ owner, name, version, target }) => facts(owner, name, version, target));
    const wanted = sealed
      .listForGuest(tenant, labels)
      .map((secret) => facts(secret.tenant, secret.name, secret.version, encodeTarget(secret.target)));
    return has.length !== wanted.length || new Set([...has, ...wanted]).size !== has.length;
  }

  /** A set that cannot be made (two shared secrets at one place) is a fault to be seen, not one that ends the sweep. */
  function isBehindNow(session: GuestSession): boolean {
    try {
      return isBehind(session);
    } catch (error) {
      logger.error({ err: error, tenant: session.tenant, vmId: session.vmId }, "secrets for a guest cannot be chosen");
      return false;
    }
  }

  function startWaiting(): void {
    for (const vmId of waiting) {
      if (closing.signal.aborted || running.size >= maxAtOnce) return;
      if (running.has(vmId)) continue;
      waiting.delete(vmId);
      const run = runLease(parts, vmId, isBehind, closing.signal)
        .catch((error: unknown) => logger.error({ err: error, vmId }, "rotation failed"))
        .finally(() => {
          running.delete(vmId);
          startWaiting();
        });
      running.set(vmId, run);
    }
  }

  function check(owner: string): void {
    if (closing.signal.aborted) return;
    for (const session of identities.listSessions(owner === "" ? undefined : owner)) {
      if (isBehindNow(session)) waiting.add(session.vmId);
    }
    startWaiting();
  }

  every(parts.sweepIntervalMs, "deliver secrets that guests are behind with", async () => check(""), {
    signal: closing.signal,
    logger,
  });
  return {
    check,
    async close() {
      closing.abort(new Error("the service stops"));
      await Promise.allSettled(running.values());
    },
  };
}

/** One rotation lease: tries until the guest has everything, its session is gone, or the time is over. */
async function runLease(
  parts: RotationParts,
  vmId: string,
  isBehind: (session: GuestSession) => boolean,
  stop: AbortSignal,
): Promise<void> {
  const { identities, audit, spool, events } = parts;
  const first = identities.findSession(vmId);
  if (first === undefined) return;
  const facts = { action: "RotateIntoGuest", tenant: first.tenant, resource: vmId, generation: first.generation };
  const intent = { ...ownOutcome({ ...facts, outcome: "unspecified", reason: "" }), phase: "intent" } as const;
  let isRecorded = false;

  /** Returns true when the guest has all there is. */
  async function attempt(timeoutMs: number): Promise<boolean> {
    const session = identities.findSession(vmId);
    if (session?.generation !== first?.generation || session === undefined) {
      throw fail("STALE_GENERATION", "the guest is gone or has another generation");
    }
    if (!isRecorded) await audit.append(intent);
    isRecorded = true;
    const delivered = await parts.deliveries.send(session, { timeoutMs, signal: stop }, () => {
      if (identities.findSession(vmId)?.generation === session.generation) return;
      throw fail("STALE_GENERATION", "the guest went while its secrets were delivered");
    });
    events.secretsRotated(session, delivered);
    return !isBehind(session);
  }

  const reason = await retried(attempt, { ...parts, stop, delayed: (error) => events.rotationDelayed(first, error) });
  if (reason !== "") events.rotationFailed(first, reason);
  if (!isRecorded) return;
  await spool.append(ownOutcome({ ...facts, outcome: reason === "" ? "success" : "failure", reason }));
}

/** Repeats `attempt` with growing pauses until it returns true, for `leaseMs` at most. Returns the last failure's reason, or `""`. */
async function retried(
  attempt: (timeoutMs: number) => Promise<boolean>,
  limits: { leaseMs: number; tryLimitMs: number; stop: AbortSignal; delayed: (error: unknown) => void },
): Promise<string> {
  const deadlineMs = performance.now() + limits.leaseMs;
  let reason = "LEASE_EXPIRED";
  let retryMs = firstRetryMs;
  for (;;) {
    const leftMs = deadlineMs - performance.now();
    if (leftMs <= 0 || limits.stop.aborted) return reason;
    try {
      if (await attempt(Math.max(1, Math.min(limits.tryLimitMs, leftMs)))) return "";
    } catch (error) {
      reason = reasonOf(error) ?? "UNKNOWN";
      if (reason === "STALE_GENERATION") return reason;
      limits.delayed(error);
      await delay(Math.min(retryMs, leftMs), undefined, { signal: limits.stop }).catch(() => undefined);
      retryMs = Math.min(retryMs * 2, longestRetryMs);
    }
  }
}
