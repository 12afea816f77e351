import type { AuditEntry } from "@lobsterd/chassis/audit.ts";
import type { Logger } from "@lobsterd/chassis/logger.ts";
import type { FinishedSpan } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import type { BackupParts } from "../backups/parts.ts";
import type { Config } from "../config.ts";
import type { TenantEvents } from "../events.ts";
import type { ImageCatalogue } from "../guest/images.ts";
import type { Renewals } from "../guest/renewals.ts";
import type { HostPosture } from "../posture/posture.ts";
import type { DrainStore } from "../store/host-drain.ts";
import type { SealedStateStore } from "../store/sealed-states.ts";
import type { SlotStore } from "../store/slots.ts";
import type { TenantRecord } from "../store/tenant-record.ts";
import type { TenantStore } from "../store/tenants.ts";
import type { BootQueue } from "./boot-queue.ts";
import type { HostParts } from "./host-parts.ts";
import type { Journal } from "./journal.ts";
import type { HostFacts } from "./machine-facts.ts";
import { type Leftovers, removeTenant } from "./removal.ts";
import { createServiceWaits, type ServiceWaits } from "./service-waits.ts";
import type { SleepFiles } from "./sleep-files.ts";
import { createTurns, type Turns } from "./turns.ts";

/** Everything that the operations on tenants share. Made once, in `service.ts`. */
export interface LifecycleParts {
  readonly config: Config;
  readonly logger: Logger;
  readonly tenants: TenantStore;
  readonly slots: SlotStore;
  readonly drains: DrainStore;
  readonly journal: Journal;
  readonly sealedStates: SealedStateStore;
  readonly files: SleepFiles;
  readonly backups: BackupParts;
  readonly hostFacts: HostFacts;
  readonly images: ImageCatalogue;
  readonly bootQueue: BootQueue;
  readonly parts: HostParts;
  readonly events: TenantEvents;
  readonly posture: Pick<HostPosture, "admitSpawn">;
  /** Keeps an audit record in this service's own database, in the transaction that is open if one is; it goes to audit from there. */
  readonly record: (entry: AuditEntry) => void;
  /** Exports spans that ended in a guest. */
  readonly reportGuestSpans: (spans: readonly FinishedSpan[]) => void;
  /** When the identities of guests are due to be renewed. */
  readonly renewals: Pick<Renewals, "issued">;
  readonly now: () => number;
  /** Never set and never back. */
  readonly steadyNow: () => number;
}

/** The parts, and the one way in which a tenant is removed. */
export interface Lifecycle extends LifecycleParts {
  /** An eviction ends the turns of its tenant. */
  readonly turns: Turns;
  readonly waits: ServiceWaits;
  /**
   * Removes what an open operation's tenant has, then its row. Concurrent calls for one VM share one removal. Resolves with
   * what is left over; the row and the operation stay until nothing is. `atEnd` runs inside the transaction that ends the operation,
   * unless this call joined a removal that ran already.
   */
  remove(vmId: string, atEnd?: () => void): Promise<Leftovers>;
  isRemoving(vmId: string): boolean;
  /** Removes what a failed spawn made. */
  unwind(tenant: TenantRecord): Promise<Leftovers>;
}

export function createLifecycle(parts: LifecycleParts): Lifecycle {
  const removals = new Map<string, Promise<Leftovers>>();
  const waits = createServiceWaits(parts.steadyNow);

  async function removeUntilSettled(vmId: string, atEnd: () => void): Promise<Leftovers> {
    for (;;) {
      const operation = parts.journal.find(vmId);
      if (operation === undefined) return [];
      const leftovers = await removeTenant(parts, operation);
      // An eviction that began meanwhile wants more removed than the unwinding of a spawn does.
      if (parts.journal.find(vmId)?.kind !== operation.kind) continue;
      if (leftovers.length === 0) parts.journal.finishRemoval(operation.tenant, atEnd);
      return leftovers;
    }
  }

  function remove(vmId: string, atEnd: () => void = () => undefined): Promise<Leftovers> {
    const running = removals.get(vmId);
    if (running !== undefined) return running;
    waits.end(vmId);
    const removal = removeUntilSettled(vmId, atEnd).finally(() => removals.delete(vmId));
    removals.set(vmId, removal);
    return removal;
  }

  return {
    ...parts,
    turns: createTurns(),
    waits,
    remove,
    isRemoving: (vmId) => removals.has(vmId),
    unwind: (tenant) => {
      parts.journal.beginUnwind(tenant);
      return remove(tenant.vmId);
    },
  };
}
