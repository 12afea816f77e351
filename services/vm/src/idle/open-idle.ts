import { randomUUID } from "node:crypto";
import { type AuditEntry, ownOutcome } from "@lobsterd/chassis/audit.ts";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import type { Logger } from "@lobsterd/chassis/logger.ts";
import { inSpan } from "@lobsterd/chassis/tracing.ts";
import type { Config } from "../config.ts";
import type { Holds } from "../holds/holds.ts";
import type { HostParts } from "../lifecycle/host-parts.ts";
import type { TenantOperations } from "../lifecycle/operations.ts";
import type { TenantRecord } from "../store/tenant-record.ts";
import type { TenantStore } from "../store/tenants.ts";
import { createIdleDetector, type IdleDetector } from "./detector.ts";
import { gatherEvidence } from "./evidence.ts";
import { createGuestBudget } from "./guest-budget.ts";

export interface OpenIdleParts {
  readonly config: Pick<Config, "guestHoldBudgetMs" | "concurrentIdleSuspends" | "wakeLeadMs">;
  readonly tenants: TenantStore;
  readonly holds: Holds;
  readonly parts: Pick<HostParts, "net" | "guests">;
  readonly operations: Pick<TenantOperations, "suspend">;
  readonly record: (entry: AuditEntry) => void;
  readonly logger: Logger;
  /** Milliseconds of a clock that is never set. */
  readonly now: () => number;
  /** Milliseconds since 1970. */
  readonly wallNow: () => number;
  /** Whether a tenant has run for long enough since it was resumed. Absent: any has. */
  readonly hasRunEnough?: (tenant: TenantRecord) => boolean;
}

export function openIdle(wanted: OpenIdleParts): IdleDetector {
  const { config, tenants, holds, parts, now, wallNow, logger, hasRunEnough } = wanted;
  return createIdleDetector({
    ...{ tenants, now, logger },
    gather: (tenant, signal) =>
      gatherEvidence({ holds, ...parts, leadMs: config.wakeLeadMs, now: wallNow }, tenant, signal),
    isHeld: (vmId) => holds.count(vmId) > 0,
    suspend: (tenant, admit) => suspendIdle(wanted, tenant, admit),
    budget: createGuestBudget(config.guestHoldBudgetMs, now),
    concurrentSuspends: config.concurrentIdleSuspends,
    ...(hasRunEnough === undefined ? {} : { hasRunEnough }),
  });
}

/** Nobody asked for it: the record of it is this service's own, and `:idle` says why. */
async function suspendIdle(
  { operations, record }: OpenIdleParts,
  { name, vmId, generation }: TenantRecord,
  admit: () => void,
): Promise<void> {
  const facts = { action: "SuspendTenant", tenant: name, resource: `${vmId}:idle`, generation };
  try {
    await inSpan("suspend-idle", { "lobsterd.tenant": name, "lobsterd.vm_id": vmId }, () =>
      operations.suspend(randomUUID(), name, { cause: "idle", admit }),
    );
  } catch (error) {
    const reason = reasonOf(error) ?? "INTERNAL";
    if (reason !== "TENANT_NOT_IDLE") record(ownOutcome({ ...facts, outcome: "failure", reason }));
    throw error;
  }
  record(ownOutcome({ ...facts, outcome: "success", reason: "IDLE" }));
}
