import { inSpan } from "@lobsterd/chassis/tracing.ts";
import { fail } from "../errors.ts";
import type { NetEvents } from "../events.ts";
import type { Firewall } from "../firewall/firewall.ts";
import { endFlows } from "../host/flows.ts";
import type { ProcessRunner } from "../host/process.ts";
import type { KeyedSerial } from "../host/serial.ts";
import { planSlot } from "../slots/address-plan.ts";
import type { SlotPool } from "../slots/slot-pool.ts";
import type { NetworkRecord, NetworkStore } from "./network-store.ts";

/**
 * Gives microVMs their networks and takes them away. Invariants:
 *
 * 1. A record is durable before its effect, so a crash leaves a record that the reconciler makes true, and never an effect without a record.
 * 2. Work on one slot is serial; slots do not wait for each other.
 * 3. A slot is admitted only when it is warm, so no state of the tenant before is there.
 * 4. Removal cuts first and cleans after.
 */
export interface Networks {
  /** The same microVM and slot again give the same record. Throws SLOT_OUT_OF_RANGE, SLOT_TAKEN, VM_ATTACHED_ELSEWHERE, SLOT_NOT_READY. */
  attach(vmId: string, slot: number): Promise<NetworkRecord>;
  /** Resolves when nothing of the network passes any more; the slot is made anew in the background. */
  detach(vmId: string): Promise<void>;
}

export interface NetworksOptions {
  readonly runner: ProcessRunner;
  readonly store: NetworkStore;
  readonly firewall: Firewall;
  readonly pool: SlotPool;
  readonly operations: KeyedSerial<number>;
  readonly events: NetEvents;
  readonly slotCount: number;
  readonly now: () => number;
}

export function createNetworks(options: NetworksOptions): Networks {
  const { runner, store, firewall, pool, operations, events, slotCount, now } = options;

  async function attach(vmId: string, slot: number): Promise<NetworkRecord> {
    const known = store.find(vmId);
    if (known !== undefined && known.slot !== slot) throw attachedElsewhere(known);
    const holder = store.holderOf(slot);
    if (holder !== undefined && holder.vmId !== vmId) throw slotTaken(slot);
    if (known !== undefined && firewall.isAdmitted(slot)) return known;

    const network = known ?? { vmId, slot, attachTimeMs: now() };
    if (known === undefined) store.record(network);
    await inSpan("slot ready", { slot, warm: pool.warm().has(slot) }, () => pool.ready(slot)).catch(
      (error: unknown) => {
        store.forget(vmId);
        throw error;
      },
    );
    await inSpan("firewall admit", { slot }, () => firewall.admit(slot)).catch(async (error: unknown) => {
      await remove(network);
      throw error;
    });
    events.networkAttached(network);
    return network;
  }

  async function remove({ vmId, slot }: { vmId: string; slot: number }): Promise<void> {
    store.retire(vmId);
    try {
      await inSpan("firewall cut", { slot }, () => firewall.cut(slot));
      await inSpan("end flows", { slot }, () => endFlows(runner, planSlot(slot).guestAddress));
    } finally {
      // Whatever failed, invariant 3: the next tenant must not find this one's namespace. Making it anew takes the link away too.
      pool.retire(slot, () => store.clearRetired(slot));
    }
  }

  async function detach(vmId: string, slot: number): Promise<void> {
    if (store.find(vmId) === undefined) return await cutAgain(vmId, slot);
    await remove({ vmId, slot });
    events.networkDetached({ vmId, slot });
  }

  /** A detach that failed halfway has no record any more; a repeated call must still mean that the guest is cut off. */
  async function cutAgain(vmId: string, slot: number): Promise<void> {
    const pending = store.retired().some((retired) => retired.slot === slot && retired.vmId === vmId);
    if (!pending || store.holderOf(slot) !== undefined) return;
    await firewall.cut(slot);
    await endFlows(runner, planSlot(slot).guestAddress);
  }

  return {
    async attach(vmId, slot) {
      if (slot >= slotCount) throw outOfRange(slot, slotCount);
      return await operations.run(slot, () => attach(vmId, slot));
    },
    async detach(vmId) {
      const slot = (store.find(vmId) ?? store.retired().find((retired) => retired.vmId === vmId))?.slot;
      if (slot !== undefined) await operations.run(slot, () => detach(vmId, slot));
    },
  };
}

function outOfRange(slot: number, slotCount: number): Error {
  return fail("SLOT_OUT_OF_RANGE", `slot ${slot} is not below ${slotCount}`, {
    metadata: { slot: String(slot), slot_count: String(slotCount), field: "slot" },
  });
}

function slotTaken(slot: number): Error {
  return fail("SLOT_TAKEN", `slot ${slot} has the network of another microVM`, { metadata: { slot: String(slot) } });
}

function attachedElsewhere({ vmId, slot }: NetworkRecord): Error {
  return fail("VM_ATTACHED_ELSEWHERE", `microVM ${vmId} has the network of slot ${slot}`, {
    metadata: { vm_id: vmId, slot: String(slot) },
  });
}
