import { type AuditEntry, ownOutcome } from "@lobsterd/chassis/audit.ts";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import type { EventBus } from "@lobsterd/chassis/events.ts";
import type { Logger } from "@lobsterd/chassis/logger.ts";
import type { BackupRecord } from "./backups/backup-store.ts";
import { vmMetrics } from "./metrics.ts";
import type { HostMode } from "./posture/posture.ts";
import { type ControlRow, isUnmet, type PostureReport } from "./posture/report.ts";
import type { RepairAction, TenantFault } from "./repair/names.ts";
import type { DrainRecord } from "./store/host-drain.ts";
import type { TenantRecord } from "./store/tenant-record.ts";

/** What happens to tenants: one function per event, each feeding log and bus. Events are hints; the truth is asked by RPC. */
export interface TenantEvents {
  tenantSpawned(tenant: TenantRecord): void;
  tenantSpawnFailed(tenant: TenantRecord, error: unknown): void;
  /** Its guest was booted, though there was a template for it, or one was to be made of it. */
  templateRefused(tenant: TenantRecord, fault: string): void;
  tenantEgressUpdated(tenant: TenantRecord): void;
  /** `fields`: names of what was changed. */
  tenantUpdated(tenant: TenantRecord, fields: readonly string[]): void;
  tenantEvicted(tenant: TenantRecord): void;
  tenantFailed(tenant: TenantRecord, reason: TenantFault): void;
  tenantSuspended(tenant: TenantRecord): void;
  /** It runs on, or is being brought back to that. */
  tenantSuspendFailed(tenant: TenantRecord, error: unknown): void;
  /** `isFresh`: from its disk, because its memory could not be brought back. */
  tenantResumed(tenant: TenantRecord, isFresh: boolean): void;
  /** Beside `tenantResumed`: somebody's request woke it, and waited so long. */
  tenantWoken(tenant: TenantRecord, cause: string, durationMs: number): void;
  tenantResumeFailed(tenant: TenantRecord, error: unknown): void;
  /** Something that it missed was given back to it, or was to be and could not. */
  tenantRepaired(tenant: TenantRecord, action: RepairAction): void;
  tenantRepairFailed(tenant: TenantRecord, action: RepairAction, error: unknown): void;
  /** It was FAILED, and every check passes. */
  tenantHealed(tenant: TenantRecord): void;
  hostDraining(drain: DrainRecord): void;
  hostUndrained(): void;
  /** A sealed state is not the tenant's last one, or is not whole: somebody changed it. */
  sealedStateRefused(tenant: TenantRecord, reason: string): void;
  backupCreated(tenant: TenantRecord, backup: BackupRecord): void;
  /** The tenant goes on. */
  backupFailed(tenant: TenantRecord, error: unknown): void;
  backupImported(tenant: TenantRecord, backup: BackupRecord): void;
  backupDeleted(tenant: TenantRecord, backup: BackupRecord): void;
  /** `tenant` runs from its disk. */
  backupRestored(tenant: TenantRecord, backup: BackupRecord): void;
  /** A tenant is as it was before a restore, or is being brought back to that. */
  restoreFailed(tenant: TenantRecord, error: unknown): void;
}

/** Repairs are records of the audit log too: nobody may have asked for one. */
export function createTenantEvents(
  bus: EventBus | undefined,
  logger: Logger,
  record: (entry: AuditEntry) => void,
): TenantEvents {
  const facts = ({ name, vmId, slot, generation }: TenantRecord) => ({ tenant: name, vmId, slot, generation });
  const publish = (name: string, tenant: TenantRecord, more: Record<string, unknown> = {}) =>
    bus?.publish({ tenant: tenant.name, name, data: { vmId: tenant.vmId, generation: tenant.generation, ...more } });
  const recordRepair = (
    { name, vmId, generation }: TenantRecord,
    action: RepairAction,
    outcome: "success" | "failure",
    reason: string,
  ) => {
    vmMetrics.repairs.add(1, { action, outcome });
    record(
      ownOutcome({ action: "RepairTenant", tenant: name, resource: `${vmId}:${action}`, generation, outcome, reason }),
    );
  };
  return {
    tenantSpawned: (tenant) => {
      const durationMs = tenant.readyTimeMs === undefined ? undefined : tenant.readyTimeMs - tenant.createTimeMs;
      logger.info({ ...facts(tenant), durationMs }, "tenant spawned");
      publish("spawned", tenant);
    },
    tenantSpawnFailed: (tenant, error) => {
      const reason = reasonOf(error) ?? "INTERNAL";
      logger.warn({ ...facts(tenant), err: error, reason }, "tenant could not be spawned");
      publish("spawn-failed", tenant, { reason });
    },
    templateRefused: (tenant, fault) => {
      logger.warn({ ...facts(tenant), fault }, "template refused");
      publish("template-refused", tenant);
    },
    tenantEgressUpdated: (tenant) => {
      logger.info({ ...facts(tenant), egress: tenant.egress }, "tenant egress updated");
      publish("egress-updated", tenant);
    },
    tenantUpdated: (tenant, fields) => {
      logger.info({ ...facts(tenant), fields }, "tenant updated");
      publish("updated", tenant, { fields });
    },
    tenantEvicted: (tenant) => {
      logger.info(facts(tenant), "tenant evicted");
      publish("evicted", tenant);
    },
    tenantFailed: (tenant, reason) => {
      vmMetrics.tenantsFailed.add(1, { reason });
      logger.error({ ...facts(tenant), reason }, "tenant failed");
      publish("failed", tenant, { reason });
    },
    tenantSuspended: (tenant) => {
      logger.info({ ...facts(tenant), cause: tenant.sleepCause }, "tenant suspended");
      publish("suspended", tenant, { cause: tenant.sleepCause });
    },
    tenantSuspendFailed: (tenant, error) => {
      const reason = reasonOf(error) ?? "INTERNAL";
      logger.warn({ ...facts(tenant), err: error, reason }, "tenant could not be suspended");
      publish("suspend-failed", tenant, { reason, cause: tenant.sleepCause });
    },
    tenantResumed: (tenant, isFresh) => {
      if (isFresh) logger.warn(facts(tenant), "tenant booted from its disk, its memory is lost");
      else logger.info({ ...facts(tenant), cause: tenant.sleepCause }, "tenant resumed");
      publish("resumed", tenant, { isFresh, cause: tenant.sleepCause });
    },
    tenantWoken: (tenant, cause, durationMs) => {
      logger.info({ ...facts(tenant), cause, durationMs }, "tenant woken");
      publish("woken", tenant, { cause, durationMs });
    },
    tenantResumeFailed: (tenant, error) => {
      const reason = reasonOf(error) ?? "INTERNAL";
      logger.warn({ ...facts(tenant), err: error, reason }, "tenant could not be resumed");
      publish("resume-failed", tenant, { reason, cause: tenant.sleepCause });
    },
    tenantRepaired: (tenant, action) => {
      logger.warn({ ...facts(tenant), action }, "tenant repaired");
      publish("repaired", tenant, { action });
      recordRepair(tenant, action, "success", "");
    },
    tenantRepairFailed: (tenant, action, error) => {
      const reason = reasonOf(error) ?? "INTERNAL";
      logger.warn({ ...facts(tenant), action, err: error, reason }, "tenant could not be repaired");
      publish("repair-failed", tenant, { action, reason });
      recordRepair(tenant, action, "failure", reason);
    },
    tenantHealed: (tenant) => {
      logger.info(facts(tenant), "tenant healed");
      publish("healed", tenant);
    },
    hostDraining: (drain) => {
      logger.warn({ ...drain }, "host is drained");
      bus?.publish({ tenant: "", name: "host-draining", data: { ...drain } });
    },
    hostUndrained: () => {
      logger.info("host is drained no more");
      bus?.publish({ tenant: "", name: "host-undrained", data: {} });
    },
    sealedStateRefused: (tenant, reason) => {
      logger.error({ ...facts(tenant), reason }, "sealed state refused");
      publish("sealed-state-refused", tenant, { reason });
    },
    backupCreated: (tenant, { backupId, sizeBytes }) => {
      logger.info({ ...facts(tenant), backupId, sizeBytes }, "backup created");
      publish("backup-created", tenant, { backupId });
    },
    backupFailed: (tenant, error) => {
      const reason = reasonOf(error) ?? "INTERNAL";
      logger.warn({ ...facts(tenant), err: error, reason }, "backup could not be created");
      publish("backup-failed", tenant, { reason });
    },
    backupImported: (tenant, { backupId, sizeBytes }) => {
      logger.info({ ...facts(tenant), backupId, sizeBytes }, "backup imported");
      publish("backup-imported", tenant, { backupId });
    },
    backupDeleted: (tenant, { backupId }) => {
      logger.info({ ...facts(tenant), backupId }, "backup deleted");
      publish("backup-deleted", tenant, { backupId });
    },
    backupRestored: (tenant, { backupId }) => {
      logger.info({ ...facts(tenant), backupId }, "backup restored");
      publish("backup-restored", tenant, { backupId });
    },
    restoreFailed: (tenant, error) => {
      const reason = reasonOf(error) ?? "INTERNAL";
      logger.warn({ ...facts(tenant), err: error, reason }, "backup could not be restored");
      publish("restore-failed", tenant, { reason });
    },
  };
}

/** What happens to the host's posture. What an auditor has to find later is a record too. */
export interface HostEvents {
  /** After the first look: what is not met, and what that means in this mode. */
  hostJudged(mode: HostMode, report: PostureReport): void;
  hostControlFailed(row: ControlRow): void;
  hostControlMet(row: ControlRow): void;
  hostControlWaived(row: ControlRow): void;
}

export function createHostEvents(
  bus: EventBus | undefined,
  logger: Logger,
  record: (entry: AuditEntry) => void,
): HostEvents {
  const facts = ({ id, verdict, measured, required }: ControlRow) => ({ control: id, verdict, measured, required });
  const publish = (name: string, row: ControlRow) => bus?.publish({ tenant: "", name, data: facts(row) });
  const recordChange = (action: string, outcome: AuditEntry["outcome"], reason: string, row: ControlRow) =>
    record(ownOutcome({ action, outcome, reason, tenant: "", resource: row.id, generation: 0 }));
  return {
    hostJudged: (mode, { rows }) => {
      const unmet = rows.filter(({ required, verdict }) => required && isUnmet(verdict)).map(({ id }) => id);
      if (unmet.length === 0) logger.info({ mode }, "host meets its required controls");
      else if (mode === "production") logger.error({ mode, controls: unmet }, "host is refused to tenants");
      else logger.warn({ mode, controls: unmet }, "host is not for hostile tenants, and spawns all the same");
    },
    hostControlFailed: (row) => {
      logger.error(facts(row), "host control failed");
      publish("host-control-failed", row);
      recordChange("CheckHost", "failure", row.verdict === "unknown" ? "CONTROL_UNKNOWN" : "CONTROL_FAILED", row);
    },
    hostControlMet: (row) => {
      logger.info(facts(row), "host control met");
      publish("host-control-met", row);
    },
    hostControlWaived: (row) => {
      const { waiver } = row;
      logger.warn({ ...facts(row), owner: waiver?.owner, expires: waiver?.expires }, "host control waived");
      publish("host-control-waived", row);
      recordChange("WaiveHostControl", "success", "CONTROL_WAIVED", row);
    },
  };
}
