import { inSpan } from "@lobsterd/chassis/tracing.ts";
import { fail, networkNotFound } from "../errors.ts";
import type { NetEvents } from "../events.ts";
import type { Firewall } from "../firewall/firewall.ts";
import type { ConntrackFacts } from "../host/conntrack-facts.ts";
import type { Flows } from "../host/flows.ts";
import type { KeyedSerial } from "../host/serial.ts";
import { planSlot } from "../slots/address-plan.ts";
import type { Shaper } from "../slots/shaper.ts";
import type { SlotPool } from "../slots/slot-pool.ts";
import { type AdmissionLimits, refuseAdmission, refuseDeniedRule } from "./admission.ts";
import type { NetworkRecord, NetworkStore } from "./network-store.ts";
import type { Egress, Limits } from "./policy.ts";

/**
 * Gives microVMs their networks and takes them away. Invariants:
 *
 * 1. A record is durable before its effect, so a crash leaves a record that the reconciler makes true, and never an effect without a record.
 * 2. Work on one slot is serial; slots do not wait for each other.
 * 3. A slot is admitted only when it is warm, so no state of the tenant before is there.
 * 4. Removal cuts first and cleans after; its address is not handed on before the quarantine ends.
 * 5. What cannot be admitted is refused before anything is recorded.
 */
export interface Networks {
  /**
   * The same microVM and slot again give the same record, whatever policy it has by now. Throws SLOT_OUT_OF_RANGE, SLOT_TAKEN,
   * VM_ATTACHED_ELSEWHERE, SLOT_QUARANTINED, CONNTRACK_TOO_SMALL, EGRESS_RANGE_DENIED, SLOT_NOT_READY.
   */
  attach(wish: NetworkWish): Promise<NetworkRecord>;
  /** Resolves when nothing that `egress` forbids passes any more. Throws NETWORK_NOT_FOUND, EGRESS_RANGE_DENIED. */
  updateEgress(vmId: string, egress: Egress): Promise<NetworkRecord>;
  /** Resolves when these limits are in force. Throws NETWORK_NOT_FOUND. */
  updateLimits(vmId: string, limits: Limits): Promise<NetworkRecord>;
  /** Resolves when nothing of the network passes any more; the slot is made anew in the background. */
  detach(vmId: string): Promise<void>;
}

/** What a microVM is to be given. */
export type NetworkWish = Omit<NetworkRecord, "attachTimeMs">;

export interface NetworksOptions {
  readonly store: NetworkStore;
  readonly firewall: Firewall;
  readonly pool: SlotPool;
  readonly shaper: Shaper;
  readonly flows: Flows;
  readonly operations: KeyedSerial<number>;
  readonly events: NetEvents;
  readonly conntrack: () => Pick<ConntrackFacts, "max">;
  readonly limits: AdmissionLimits & { readonly slotCount: number };
  /** Slots are made with these; a network with others is shaped when it is attached. */
  readonly defaultLimits: Limits;
  readonly now: () => number;
}

export function createNetworks(options: NetworksOptions): Networks {
  const { store, firewall, pool, shaper, flows, operations, events, conntrack, limits, defaultLimits, now } = options;

  async function attach(wish: NetworkWish): Promise<NetworkRecord> {
    const { vmId, slot } = wish;
    const known = store.find(vmId);
    if (known !== undefined && known.slot !== slot) throw attachedElsewhere(known);
    const holder = store.holderOf(slot);
    if (holder !== undefined && holder.vmId !== vmId) throw slotTaken(slot);
    if (known !== undefined && firewall.isAdmitted(slot)) return known;

    const network = known ?? { ...wish, attachTimeMs: now() };
    if (known === undefined) {
      refuseAdmission(network, store, conntrack(), limits);
      store.record(network);
    }
    await inSpan("slot ready", { slot, warm: pool.isWarm(slot) }, () => pool.ready(slot)).catch((error: unknown) => {
      store.forget(vmId);
      throw error;
    });
    try {
      if (!sameShaping(network.limits, defaultLimits))
        await inSpan("shape", { slot }, () => shaper.shape(slot, network.limits));
      await inSpan("firewall admit", { slot }, () => firewall.admit(network));
    } catch (error) {
      await remove(network);
      throw error;
    }
    events.networkAttached(network);
    return network;
  }

  async function updateEgress(vmId: string, slot: number, egress: Egress): Promise<NetworkRecord> {
    const known = networkOn(slot, vmId);
    if (known === undefined) throw networkNotFound(vmId);
    refuseDeniedRule({ egress });
    const network = { ...known, egress };
    store.setEgress(vmId, egress);
    await inSpan("firewall admit", { slot }, () => firewall.admit(network));
    await inSpan("end forbidden flows", { slot }, () => flows.endForbidden(slot, egress));
    events.egressUpdated(network);
    return network;
  }

  async function updateLimits(vmId: string, slot: number, limits: Limits): Promise<NetworkRecord> {
    const known = networkOn(slot, vmId);
    if (known === undefined) throw networkNotFound(vmId);
    const network = { ...known, limits };
    store.setLimits(vmId, limits);
    await inSpan("shape", { slot }, () => shaper.shape(slot, limits));
    await inSpan("firewall admit", { slot }, () => firewall.admit(network));
    events.limitsUpdated(network);
    return network;
  }

  async function remove({ vmId, slot }: { vmId: string; slot: number }): Promise<void> {
    store.retire(vmId, now());
    try {
      await inSpan("firewall cut", { slot }, () => firewall.cut(slot));
      await inSpan("end flows", { slot }, () => flows.endAll(planSlot(slot).guestAddress));
    } finally {
      // Whatever failed, invariant 3: the next tenant must not find this one's namespace. Making it anew takes the link away too.
      pool.retire(slot, () => store.clearRetired(slot));
    }
  }

  async function detach(vmId: string, slot: number): Promise<void> {
    if (networkOn(slot, vmId) === undefined) return await cutAgain(vmId, slot);
    await remove({ vmId, slot });
    events.networkDetached({ vmId, slot });
  }

  /**
   * The microVM may have got another slot while a call for the one that it had was waiting. Then that call is over: what it was about
   * is gone, and the other slot's work is not serial with it.
   */
  function networkOn(slot: number, vmId: string): NetworkRecord | undefined {
    const known = store.find(vmId);
    return known?.slot === slot ? known : undefined;
  }

  /** A detach that failed halfway has no record any more; a repeated call must still mean that the guest is cut off. */
  async function cutAgain(vmId: string, slot: number): Promise<void> {
    const pending = store.retired().some((retired) => retired.slot === slot && retired.vmId === vmId);
    if (!pending || store.holderOf(slot) !== undefined) return;
    await firewall.cut(slot);
    await flows.endAll(planSlot(slot).guestAddress);
  }

  return {
    async attach(wish) {
      if (wish.slot >= limits.slotCount) throw outOfRange(wish.slot, limits.slotCount);
      return await operations.run(wish.slot, () => attach(wish));
    },
    async updateEgress(vmId, egress) {
      const slot = store.find(vmId)?.slot;
      if (slot === undefined) throw networkNotFound(vmId);
      return await operations.run(slot, () => updateEgress(vmId, slot, egress));
    },
    async updateLimits(vmId, wanted) {
      const slot = store.find(vmId)?.slot;
      if (slot === undefined) throw networkNotFound(vmId);
      return await operations.run(slot, () => updateLimits(vmId, slot, wanted));
    },
    async detach(vmId) {
      const slot = (store.find(vmId) ?? store.retired().find((retired) => retired.vmId === vmId))?.slot;
      if (slot !== undefined) await operations.run(slot, () => detach(vmId, slot));
    },
  };
}

function sameShaping(a: Limits, b: Limits): boolean {
  return a.sentKbits === b.sentKbits && a.receivedKbits === b.receivedKbits;
}

function outOfRange(slot: number, slotCount: number): Error {
  return fail("SLOT_OUT_OF_RANGE", `this host has ${slotCount} slots; there is no slot ${slot}`, {
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
