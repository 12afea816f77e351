import type { ProcessRunner } from "../host/process.ts";
import { createSerial } from "../host/serial.ts";
import type { SetElement } from "../netlink/nft-element.ts";
import type { ElementChange } from "../netlink/nftables.ts";
import { canonicalTables, listTables } from "./canonical.ts";
import { type Drift, elementDifference, structuralDrift } from "./drift.ts";
import type { ElementStore } from "./element-store.ts";
import { type HostRulesetOptions, hostRuleset } from "./host-ruleset.ts";
import { renderRuleset } from "./ruleset.ts";
import { elementId, elementText } from "./set-element.ts";
import { type AdmittedNetwork, dropCountersOf, elementsOf, tenantSets } from "./tenant-elements.ts";

const maxBatch = 64;

/**
 * The host side's firewall, brought to one desired state: the fixed ruleset plus the elements of the admitted networks.
 *
 * 1. Changes that arrive while others are being made wait and go together in the next transaction.
 * 2. Nothing here ever flushes: every repair is one transaction from rules to rules.
 * 3. What is desired is changed before the kernel is, so a repair that comes in between does the same.
 */
export interface Firewall {
  /** Resolves when the kernel has the network's elements and no others of its slot. May be repeated, with another policy too. */
  admit(network: AdmittedNetwork): Promise<void>;
  /** Resolves when the kernel no longer has the slot's elements. May be repeated; never readmits, even when it fails. */
  cut(slot: number): Promise<void>;
  isAdmitted(slot: number): boolean;
  /**
   * Whether anybody else changed a rule since the last comparison; false where the kernel cannot be asked cheaply. Costs
   * microseconds.
   */
  wasChangedElsewhere(): boolean;
  /**
   * Reads everything back and repairs what differs. Returns what differed, and `foreign`: elements of no admitted slot
   * that were removed. Throws if the kernel still differs after the repair.
   */
  reconcile(): Promise<{ readonly drifts: readonly Drift[]; readonly foreign: readonly SetElement[] }>;
}

export type FirewallOptions = Omit<HostRulesetOptions, "networks">;

export interface FirewallParts {
  readonly runner: ProcessRunner;
  readonly elements: ElementStore;
  readonly options: FirewallOptions;
  /** File for a namespace of a moment. */
  readonly scratchPath: string;
  /** What was admitted before this process started. */
  readonly admitted: readonly AdmittedNetwork[];
}

interface Change {
  readonly slot: number;
  /** `undefined`: cut. */
  readonly network: AdmittedNetwork | undefined;
  resolve(): void;
  reject(error: unknown): void;
}

export async function openFirewall(parts: FirewallParts): Promise<Firewall> {
  const { runner, elements, options, scratchPath } = parts;
  const canonical = await canonicalTables(runner, scratchPath, hostRuleset({ ...options, networks: [] }));
  const admitted = new Map(parts.admitted.map((network) => [network.slot, network]));
  const serial = createSerial();
  const waiting: Change[] = [];
  /** The kernel's generation of rules that is known to be as desired. Every transaction, of whoever, makes it one higher. */
  let known = elements.generation();
  /** Whether the kernel may have something that was to be gone: then a change says the whole, and not only what it changes. */
  let uncertain = false;

  /**
   * Runs one transaction of ours; if it was the only one, what was known before is known after. The generation is read before it as well: a commit that
   * has nothing to change is no transaction, and the one more might be somebody else's.
   */
  async function transact(commit: () => Promise<void>): Promise<void> {
    const before = elements.generation();
    await commit();
    if (before !== undefined && before === known && elements.generation() === before + 1) known = before + 1;
  }

  async function install(unknownTables: readonly string[] = []): Promise<void> {
    const networks = [...admitted.values()].sort((a, b) => a.slot - b.slot);
    const removals = unknownTables.map((key) => `delete table ${key}\n`).join("");
    const input = removals + renderRuleset(hostRuleset({ ...options, networks }));
    await transact(async () => void (await runner.run(["nft", "-f", "-"], { input })));
  }

  /** Makes `batch` desired and returns what that changes in the kernel. */
  function adopt(batch: readonly Change[]): ElementChange[] {
    return batch.flatMap(({ slot, network }) => {
      const before = admitted.get(slot);
      if (network === undefined) admitted.delete(slot);
      else admitted.set(slot, network);
      return elementChanges(slot, before, network);
    });
  }

  async function flush(): Promise<void> {
    const batch = takeBatch(waiting);
    if (waiting.length > 0) schedule();
    const isNew = new Set(batch.map(({ slot }) => slot).filter((slot) => !admitted.has(slot)));
    try {
      await bring(adopt(batch));
      for (const change of batch) change.resolve();
    } catch (error) {
      uncertain = true;
      for (const change of batch) {
        // One that was admitted before keeps its new policy, which the next repair brings to the kernel.
        if (change.network !== undefined && isNew.has(change.slot)) admitted.delete(change.slot);
        change.reject(error);
      }
    }
  }

  async function bring(changes: readonly ElementChange[]): Promise<void> {
    try {
      if (!uncertain) return await transact(() => elements.change(changes));
    } catch {
      // The table was changed under us, for example flushed: the transaction was refused as a whole, so nothing is half done.
    }
    await install();
    uncertain = false;
  }

  function schedule(): void {
    void serial.run(flush);
  }

  function request(slot: number, network: AdmittedNetwork | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      waiting.push({ slot, network, resolve, reject });
      if (waiting.length === 1) schedule();
    });
  }

  async function difference(): Promise<{ missing: SetElement[]; unknown: SetElement[] }> {
    const wanted = [...admitted.values()].flatMap(elementsOf);
    const listed = await Promise.all(
      tenantSets.map(async (set) => (await elements.list(set)).map((element) => ({ set, ...element }))),
    );
    return elementDifference(wanted, listed.flat());
  }

  async function repair(): Promise<{ drifts: Drift[]; foreign: SetElement[] }> {
    const generation = elements.generation();
    const repaired = await compareAndRepair();
    // Unchanged while it was read: what was read is what is.
    if (repaired.drifts.length === 0) known = generation;
    return repaired;
  }

  async function compareAndRepair(): Promise<{ drifts: Drift[]; foreign: SetElement[] }> {
    const structural = structuralDrift(canonical, await listTables(runner));
    if (structural.length > 0) {
      // Elements of a table that is not as it should be are not worth a look: the whole is replaced.
      await install(structural.filter(({ kind }) => kind === "unknown-table").map(({ object }) => object));
      await assertRepaired();
      return { drifts: structural, foreign: [] };
    }
    const { missing, unknown } = await difference();
    if (missing.length + unknown.length === 0) return { drifts: [], foreign: [] };
    await transact(() => elements.change([...unknown.map(remove), ...missing.map(add)]));
    await assertRepaired();
    return {
      drifts: [...missing.map(drift("missing-element")), ...unknown.map(drift("unknown-element"))],
      foreign: unknown,
    };
  }

  async function assertRepaired(): Promise<void> {
    const structural = structuralDrift(canonical, await listTables(runner));
    const { missing, unknown } = structural.length > 0 ? { missing: [], unknown: [] } : await difference();
    if (structural.length + missing.length + unknown.length > 0)
      throw new Error("the kernel's rules still differ after they were repaired");
  }

  // A host that has neither tables nor tenants of ours is new, and making its rules is no repair.
  if (admitted.size === 0 && (await listTables(runner)).size === 0) await install();

  return {
    admit: (network) => request(network.slot, network),
    cut: (slot) => request(slot, undefined),
    isAdmitted: (slot) => admitted.has(slot),
    wasChangedElsewhere: () => elements.generation() !== known,
    reconcile: () => serial.run(repair),
  };
}

/** Takes what can go in one transaction: no slot twice, since each change is computed from the one before. */
function takeBatch(waiting: Change[]): Change[] {
  const batch: Change[] = [];
  const slots = new Set<number>();
  for (let next = waiting[0]; next !== undefined && batch.length < maxBatch; next = waiting[0]) {
    if (slots.has(next.slot)) break;
    slots.add(next.slot);
    batch.push(next);
    waiting.shift();
  }
  return batch;
}

/** A cut takes the counters away too, which are the old tenant's and not the next one's. */
function elementChanges(
  slot: number,
  before: AdmittedNetwork | undefined,
  after: AdmittedNetwork | undefined,
): ElementChange[] {
  const old = before === undefined ? [] : elementsOf(before);
  const wanted = after === undefined ? [] : elementsOf(after);
  const kept = new Set(wanted.map(elementId));
  const gone = old.filter((element) => !kept.has(elementId(element)));
  const counters = before === undefined || after === undefined ? dropCountersOf(slot) : [];
  return [...[...gone, ...counters].map(remove), ...wanted.map(add)];
}

const add = (element: SetElement): ElementChange => ({ kind: "add", element });
const remove = (element: SetElement): ElementChange => ({ kind: "delete", element });

function drift(kind: Drift["kind"]): (element: SetElement) => Drift {
  return (element) => ({ kind, object: `${element.set} ${elementText(element)}` });
}
