import { reasonOf } from "@lobsterd/chassis/errors.ts";
import type { EventBus } from "@lobsterd/chassis/events.ts";
import type { Logger } from "@lobsterd/chassis/logger.ts";
import type { TenantRecord } from "./store/tenants.ts";

/** What happens to tenants: one function per event, each feeding log and bus. Events are hints; the truth is asked by RPC. */
export interface TenantEvents {
  tenantSpawned(tenant: TenantRecord): void;
  tenantSpawnFailed(tenant: TenantRecord, error: unknown): void;
  tenantEgressUpdated(tenant: TenantRecord): void;
  tenantEvicted(tenant: TenantRecord): void;
  tenantFailed(tenant: TenantRecord, reason: string): void;
}

export function createTenantEvents(bus: EventBus | undefined, logger: Logger): TenantEvents {
  const facts = ({ name, vmId, slot, generation }: TenantRecord) => ({ tenant: name, vmId, slot, generation });
  const publish = (name: string, tenant: TenantRecord, more: Record<string, unknown> = {}) =>
    bus?.publish({ tenant: tenant.name, name, data: { vmId: tenant.vmId, generation: tenant.generation, ...more } });
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
    tenantEgressUpdated: (tenant) => {
      logger.info({ ...facts(tenant), egress: tenant.egress }, "tenant egress updated");
      publish("egress-updated", tenant);
    },
    tenantEvicted: (tenant) => {
      logger.info(facts(tenant), "tenant evicted");
      publish("evicted", tenant);
    },
    tenantFailed: (tenant, reason) => {
      logger.error({ ...facts(tenant), reason }, "tenant failed");
      publish("failed", tenant, { reason });
    },
  };
}
