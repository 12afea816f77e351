import { canonicalTables, listTables } from "../firewall/canonical.ts";
import { structuralDrift } from "../firewall/drift.ts";
import type { ListedTable } from "../firewall/nft-output.ts";
import { renderRuleset } from "../firewall/ruleset.ts";
import { type SlotRulesetOptions, slotRuleset } from "../firewall/slot-ruleset.ts";
import { createSlotNamespace, disableIpv6, mountedNamespaces, removeNamespaces } from "../host/namespace.ts";
import type { ProcessRunner } from "../host/process.ts";
import type { Limits } from "../networks/policy.ts";
import { linkPrefix, namespacePath } from "./address-plan.ts";
import { pair, raise, removal, tap, uplink } from "./link-commands.ts";
import { listLinkedSlots, listSlotLinks, type SlotLinks } from "./link-listing.ts";
import type { Shaper } from "./shaper.ts";

/** What exists on the host now, by slot. */
export interface SlotInventory {
  readonly links: SlotLinks;
  /** Paths of bound namespaces. */
  readonly namespaces: ReadonlySet<string>;
}

/** Makes and removes the namespaces and links of slots. Knows nothing of who uses a slot. */
export interface SlotBuilder {
  /** Makes slots anew: whatever they had before is gone, and their rules were read back equal. They are shaped by the default. */
  make(slots: readonly number[]): Promise<void>;
  remove(slots: readonly number[]): Promise<void>;
  /** Makes the link between host and namespace anew, shaped by `limits`, and leaves the namespace, and so a running guest, alone. */
  relink(slot: number, limits: Limits): Promise<void>;
  /** Brings the rules in a slot's namespace back in one transaction. Returns whether they had differed. */
  restoreRules(slot: number): Promise<boolean>;
  inventory(): Promise<SlotInventory>;
}

export interface SlotBuilderOptions extends SlotRulesetOptions {
  readonly netnsDir: string;
  /** Slot `k`'s tap belongs to user and group `jailUidBase + k`. */
  readonly jailUidBase: number;
  readonly defaultLimits: Limits;
}

export async function openSlotBuilder(
  runner: ProcessRunner,
  shaper: Shaper,
  options: SlotBuilderOptions,
  scratchPath: string,
): Promise<SlotBuilder> {
  const { netnsDir, defaultLimits } = options;
  const ruleset = slotRuleset(options);
  const rules = renderRuleset(ruleset);
  const canonical = await canonicalTables(runner, scratchPath, ruleset);

  const fileOf = (slot: number): string => namespacePath(netnsDir, slot);
  const within = (slot: number): ProcessRunner => runner.within(fileOf(slot));
  const linkOf = (slot: number): string => `${linkPrefix}${slot}`;

  async function removeLinks(slots: readonly number[]): Promise<void> {
    const linked = await listLinkedSlots(runner);
    const present = slots.filter((slot) => linked.has(slot));
    if (present.length > 0) await batch(runner, removal(present));
  }

  async function inventory(): Promise<SlotInventory> {
    const [links, namespaces] = await Promise.all([listSlotLinks(runner), mountedNamespaces()]);
    return { links, namespaces };
  }

  async function remove(slots: readonly number[]): Promise<void> {
    // The link first: deleting one end removes the other even while a process keeps the namespace alive.
    await removeLinks(slots);
    await removeNamespaces(runner, slots.map(fileOf));
  }

  async function makePairs(slots: readonly number[]): Promise<void> {
    await batch(
      runner,
      slots.flatMap((slot) => pair(slot, netnsDir)),
    );
    await disableIpv6(runner, slots.map(linkOf));
  }

  async function furnish(slot: number): Promise<void> {
    await batch(within(slot), [...tap(options.jailUidBase + slot), ...uplink(slot)]);
    await Promise.all([load(slot), shaper.shapeUplink(slot, defaultLimits.sentKbits)]);
    if (await rulesDiffer(slot)) throw new Error(`rules of slot ${slot} were read back different`);
  }

  async function load(slot: number): Promise<void> {
    await within(slot).run(["nft", "-f", "-"], { input: rules });
  }

  async function rulesDiffer(slot: number): Promise<boolean> {
    return differs(canonical, await listTables(within(slot)));
  }

  return {
    inventory,
    remove,
    async make(slots) {
      await remove(slots);
      await Promise.all(slots.map((slot) => createSlotNamespace(runner, fileOf(slot))));
      await makePairs(slots);
      await Promise.all(slots.map(furnish));
      await shaper.shapeLinks(slots, defaultLimits.receivedKbits);
      await batch(runner, slots.flatMap(raise));
    },
    async relink(slot, limits) {
      await removeLinks([slot]);
      await makePairs([slot]);
      await batch(within(slot), uplink(slot));
      await shaper.shape(slot, limits);
      await batch(runner, raise(slot));
    },
    async restoreRules(slot) {
      if (!(await rulesDiffer(slot))) return false;
      await load(slot);
      if (await rulesDiffer(slot)) throw new Error(`rules of slot ${slot} still differ after they were repaired`);
      return true;
    },
  };
}

async function batch(runner: ProcessRunner, lines: readonly string[]): Promise<void> {
  await runner.run(["ip", "-batch", "-"], { input: `${lines.join("\n")}\n` });
}

function differs(expected: ReadonlyMap<string, ListedTable>, actual: ReadonlyMap<string, ListedTable>): boolean {
  return structuralDrift(expected, actual).length > 0;
}
