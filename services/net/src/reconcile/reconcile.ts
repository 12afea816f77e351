import type { NetEvents } from "../events.ts";
import type { Drift } from "../firewall/drift.ts";
import type { Firewall } from "../firewall/firewall.ts";
import type { Flows } from "../host/flows.ts";
import { namespaceFiles, removeNamespaces } from "../host/namespace.ts";
import type { ProcessRunner } from "../host/process.ts";
import type { KeyedSerial } from "../host/serial.ts";
import type { SetElement } from "../netlink/nft-element.ts";
import type { NetworkStore } from "../networks/network-store.ts";
import type { Limits } from "../networks/policy.ts";
import { linkPrefix, namespacePath, namespacePrefix, planSlot, slotOfName } from "../slots/address-plan.ts";
import type { Shaper } from "../slots/shaper.ts";
import type { SlotBuilder, SlotInventory } from "../slots/slot-builder.ts";
import type { SlotPool } from "../slots/slot-pool.ts";

/** Rules inside namespaces are read back for this many attached slots per run, in rotation: it costs a process each. */
const rulesPerRun = 32;

export interface ReconcilerOptions {
  readonly runner: ProcessRunner;
  readonly store: NetworkStore;
  readonly firewall: Firewall;
  readonly builder: SlotBuilder;
  readonly pool: SlotPool;
  readonly shaper: Shaper;
  readonly flows: Flows;
  readonly operations: KeyedSerial<number>;
  readonly events: NetEvents;
  readonly slotCount: number;
  readonly netnsDir: string;
  /** Of idle slots. */
  readonly defaultLimits: Limits;
}

/**
 * Makes the host what the store says it is, at the start and on a timer: the host's rules and elements, then what bears our
 * names and belongs to no slot, then each attached slot. Idle slots are the pool's. Two runs in a row change nothing. Returns what it
 * repaired; each was also published. What is not named like ours is not looked at. `asked` is a slot whose rules are read back whoever's turn it is.
 */
export function createReconciler(options: ReconcilerOptions): (asked?: number) => Promise<readonly Drift[]> {
  const {
    runner,
    store,
    firewall,
    builder,
    pool,
    shaper,
    flows,
    operations,
    events,
    slotCount,
    netnsDir,
    defaultLimits,
  } = options;
  let nextVerified = 0;

  async function reconcileFirewall(): Promise<readonly Drift[]> {
    const { drifts, foreign } = await firewall.reconcile();
    const slots = new Set(foreign.map(slotOfElement).filter((slot) => slot !== undefined));
    // An element that nobody should have had: what passed through it ends with it.
    for (const slot of slots) {
      const holder = store.holderOf(slot);
      if (holder === undefined) await flows.endAll(planSlot(slot).guestAddress);
      else await flows.endForbidden(slot, holder.egress);
    }
    return drifts;
  }

  async function removeUnknown(inventory: SlotInventory): Promise<Drift[]> {
    const links = [...inventory.links.keys()].filter((slot) => slot >= slotCount);
    const files = (await namespaceFiles(netnsDir)).filter(
      (name) => (slotOfName(namespacePrefix, name) ?? -1) >= slotCount,
    );
    for (const slot of links) await runner.run(["ip", "link", "delete", "dev", `${linkPrefix}${slot}`]);
    await removeNamespaces(
      runner,
      files.map((name) => `${netnsDir}/${name}`),
    );
    return [
      ...links.map((slot) => ({ kind: "unknown-link" as const, object: `${linkPrefix}${slot}` })),
      ...files.map((object) => ({ kind: "unknown-namespace" as const, object })),
    ];
  }

  function faultOf(slot: number, { links, namespaces }: SlotInventory): Drift | undefined {
    const object = `${linkPrefix}${slot}`;
    if (!namespaces.has(namespacePath(netnsDir, slot)))
      return { kind: "missing-namespace", object: `${namespacePrefix}${slot}` };
    const link = links.get(slot);
    if (link === undefined) return { kind: "missing-link", object };
    return link === "complete" ? undefined : { kind: "changed-link", object };
  }

  async function repairAttached(slot: number, inventory: SlotInventory): Promise<Drift[]> {
    if (faultOf(slot, inventory) === undefined) return [];
    return await operations.run(slot, async () => {
      const fault = faultOf(slot, await builder.inventory());
      const holder = store.holderOf(slot);
      if (fault === undefined || holder === undefined) return [];
      if (fault.kind === "missing-namespace") {
        await builder.make([slot]);
        await shaper.shape(slot, holder.limits);
      } else await builder.relink(slot, holder.limits);
      return [fault];
    });
  }

  async function verifyNamespace(slot: number): Promise<Drift[]> {
    const holder = store.holderOf(slot);
    if (holder === undefined) return [];
    const object = `${namespacePrefix}${slot}`;
    const drifts: Drift[] = (await builder.restoreRules(slot)) ? [{ kind: "changed-namespace", object }] : [];
    if (!(await shaper.isUplinkShaped(slot, holder.limits))) {
      await shaper.shapeUplink(slot, holder.limits.sentKbits);
      drifts.push({ kind: "changed-shaping", object });
    }
    return drifts;
  }

  /** The host's side of every slot: what its guest receives. */
  async function verifyLinkShaping(slots: readonly number[]): Promise<Drift[]> {
    const limitsOf = (slot: number): Limits => store.holderOf(slot)?.limits ?? defaultLimits;
    const drifts: Drift[] = [];
    for (const slot of await shaper.misshapenLinks(slots, limitsOf)) {
      const mended = await operations.run(slot, async () => {
        // It may have been made anew meanwhile.
        if ((await shaper.misshapenLinks([slot], limitsOf)).length === 0) return false;
        await shaper.shapeLinks([slot], limitsOf(slot).receivedKbits);
        return true;
      });
      if (mended) drifts.push({ kind: "changed-shaping", object: `${linkPrefix}${slot}` });
    }
    return drifts;
  }

  async function verifyRules(slots: readonly number[]): Promise<Drift[]> {
    const drifts: Drift[] = [];
    const count = Math.min(rulesPerRun, slots.length);
    for (let step = 0; step < count; step += 1) {
      const slot = slots[(nextVerified + step) % slots.length];
      if (slot === undefined) continue;
      drifts.push(...(await operations.run(slot, () => verifyNamespace(slot))));
    }
    nextVerified += count;
    return drifts;
  }

  return async (asked) => {
    const drifts = [...(await reconcileFirewall())];
    const warm = pool.warm();
    const inventory = await builder.inventory();
    drifts.push(...(await removeUnknown(inventory)));
    const attached = store.all().map(({ slot }) => slot);
    const busy = operations.busy();
    for (const slot of attached) {
      if (!busy.has(slot)) drifts.push(...(await repairAttached(slot, inventory)));
    }
    const quiet = attached.filter((slot) => !busy.has(slot));
    if (asked !== undefined && quiet.includes(asked))
      drifts.push(...(await operations.run(asked, () => verifyNamespace(asked))));
    drifts.push(...(await verifyRules(quiet)), ...(await verifyLinkShaping(quiet)));
    const used = new Set(attached);
    const [busyNow, warmNow] = [operations.busy(), pool.warm()];
    for (const [slot, made] of warm) {
      if (used.has(slot) || busyNow.has(slot) || warmNow.get(slot) !== made) continue;
      const fault = faultOf(slot, inventory);
      if (fault === undefined) continue;
      pool.invalidate(slot);
      drifts.push(fault);
    }
    for (const drift of drifts) events.driftRepaired(drift);
    return drifts;
  };
}

function slotOfElement({ key }: SetElement): number | undefined {
  const name = key.find((part) => part.type === "ifname");
  return name === undefined ? undefined : slotOfName(linkPrefix, String(name.value));
}
