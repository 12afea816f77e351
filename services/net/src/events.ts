import { type AuditSink, driftRepair } from "@lobsterd/chassis/audit.ts";
import type { EventBus } from "@lobsterd/chassis/events.ts";
import type { Logger } from "@lobsterd/chassis/logger.ts";
import type { Drift } from "./firewall/drift.ts";
import { netMetrics } from "./metrics.ts";
import type { NetworkRecord } from "./networks/network-store.ts";

/** One function per business event: each feeds the log and the bus at once. This service knows no tenant's name. */
export interface NetEvents {
  networkAttached(network: NetworkRecord): void;
  egressUpdated(network: NetworkRecord): void;
  limitsUpdated(network: NetworkRecord): void;
  networkDetached(network: { readonly vmId: string; readonly slot: number }): void;
  /** The host was not as recorded, and was repaired. Also a metric, and a record of the audit log: somebody changed a boundary. */
  driftRepaired(drift: Drift): void;
}

export interface NetEventSinks {
  readonly bus: Pick<EventBus, "publish">;
  /** Durable on return. */
  readonly audit: AuditSink;
  readonly logger: Logger;
}

export function createNetEvents({ bus, audit, logger }: NetEventSinks): NetEvents {
  const publish = (name: string, data: Record<string, unknown>): void => bus.publish({ tenant: "", name, data });
  return {
    networkAttached({ vmId, slot }) {
      logger.info({ vmId, slot }, "network attached");
      publish("network-attached", { vmId, slot });
    },
    egressUpdated({ vmId, slot, egress }) {
      logger.info({ vmId, slot, mode: egress.mode }, "egress updated");
      publish("egress-updated", { vmId, slot, mode: egress.mode });
    },
    limitsUpdated({ vmId, slot, limits }) {
      logger.info({ vmId, slot, ...limits }, "limits updated");
      publish("limits-updated", { vmId, slot, ...limits });
    },
    networkDetached({ vmId, slot }) {
      logger.info({ vmId, slot }, "network detached");
      publish("network-detached", { vmId, slot });
    },
    driftRepaired(drift) {
      const { kind, object } = drift;
      logger.warn({ kind, object }, "drift repaired");
      publish("drift-repaired", { kind, object });
      netMetrics.drift.add(1, { kind });
      audit.append(driftRepair(kind, object)).catch((error: unknown) => {
        logger.error({ err: error, kind, object }, "audit record of a repair could not be kept");
      });
    },
  };
}
