import type { EventBus } from "@lobsterd/chassis/events.ts";
import type { Logger } from "@lobsterd/chassis/logger.ts";
import type { Drift } from "./firewall/drift.ts";
import type { NetworkRecord } from "./networks/network-store.ts";

/** One function per business event: each feeds the log and the bus at once. This service knows no tenant's name. */
export interface NetEvents {
  networkAttached(network: NetworkRecord): void;
  networkDetached(network: { readonly vmId: string; readonly slot: number }): void;
  /** The host was not as recorded, and was repaired. */
  driftRepaired(drift: Drift): void;
}

export function createNetEvents(bus: Pick<EventBus, "publish">, logger: Logger): NetEvents {
  const publish = (name: string, data: Record<string, unknown>): void => bus.publish({ tenant: "", name, data });
  return {
    networkAttached({ vmId, slot }) {
      logger.info({ vmId, slot }, "network attached");
      publish("network-attached", { vmId, slot });
    },
    networkDetached({ vmId, slot }) {
      logger.info({ vmId, slot }, "network detached");
      publish("network-detached", { vmId, slot });
    },
    driftRepaired({ kind, object }) {
      logger.warn({ kind, object }, "drift repaired");
      publish("drift-repaired", { kind, object });
    },
  };
}
