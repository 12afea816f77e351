import { randomUUID } from "node:crypto";
import { type AuditEntry, type AuditSink, ownOutcome } from "@lobsterd/chassis/audit.ts";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import type { Logger } from "@lobsterd/chassis/logger.ts";
import { inSpan } from "@lobsterd/chassis/tracing.ts";
import type { TenantStore } from "../store/tenants.ts";
import type { TenantWakes } from "../wakes/tenant-wakes.ts";
import { createWaker, type Waker, type WakeTenant } from "./waker.ts";

export interface OpenSchedulesParts {
  readonly tenants: TenantStore;
  /** A schedule has the budgets of a request: its times are the guest's word. */
  readonly wakes: Pick<TenantWakes, "wake">;
  /** A resume widens: it waits for audit, whoever begins it. */
  readonly sink: AuditSink;
  readonly record: (entry: AuditEntry) => void;
  readonly concurrentWakes: number;
  readonly now: () => number;
  readonly steadyNow: () => number;
  readonly logger: Logger;
}

export function openSchedules(parts: OpenSchedulesParts): Waker {
  return createWaker({ ...parts, wakeTenant: wakeBySchedule(parts) });
}

/** Nobody asked for it: the records are this service's own, and `:schedule` says why. */
function wakeBySchedule({ wakes, sink, record }: OpenSchedulesParts): WakeTenant {
  return async ({ name, vmId, generation }, cause) => {
    const facts = { action: "ResumeTenant", tenant: name, resource: `${vmId}:${cause}`, generation };
    await inSpan("wake-by-schedule", { "lobsterd.tenant": name, "lobsterd.vm_id": vmId }, async () => {
      await sink.append({ ...ownOutcome({ ...facts, outcome: "unspecified", reason: "" }), phase: "intent" });
      try {
        await wakes.wake({ requestId: randomUUID(), name, vmId, cause });
      } catch (error) {
        record(ownOutcome({ ...facts, outcome: "failure", reason: reasonOf(error) ?? "INTERNAL" }));
        throw error;
      }
      record(ownOutcome({ ...facts, outcome: "success", reason: "SCHEDULE" }));
    });
  };
}
