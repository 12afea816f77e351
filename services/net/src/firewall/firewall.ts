import type { ProcessRunner } from "../host/process.ts";
import { createSerial } from "../host/serial.ts";
import { tableName } from "../slots/address-plan.ts";
import { canonicalTables, listTables } from "./canonical.ts";
import { type Drift, type ElementChange, elementDifference, structuralDrift } from "./drift.ts";
import { elementsOf, type HostRulesetOptions, hostRuleset, tenantSets } from "./host-ruleset.ts";
import { type ListedTable, readAddedElements } from "./nft-output.ts";
import { renderRuleset } from "./ruleset.ts";

const maxBatch = 64;
const hostTable = `inet ${tableName}`;

/**
 * The host side's firewall, brought to one desired state: the fixed ruleset plus the elements of the admitted slots.
 *
 * Changes that arrive while an nft process runs wait and go together in the next one, so a burst costs a few
 * processes and not one each. Nothing here ever flushes: every repair is one transaction from rules to rules.
 */
export interface Firewall {
  /** Resolves when the kernel has the slot's elements. May be repeated. */
  admit(slot: number): Promise<void>;
  /** Resolves when the kernel no longer has the slot's elements. May be repeated; never readmits, even when it fails. */
  cut(slot: number): Promise<void>;
  isAdmitted(slot: number): boolean;
  /**
   * Reads everything back and repairs what differs. Returns what differed, and `foreign`: elements of no admitted slot
   * that were removed. Throws if the kernel still differs after the repair.
   */
  reconcile(): Promise<{ readonly drifts: readonly Drift[]; readonly foreign: readonly string[] }>;
}

export type FirewallOptions = Omit<HostRulesetOptions, "slots">;

interface Change {
  readonly kind: "admit" | "cut";
  readonly slot: number;
  resolve(): void;
  reject(error: unknown): void;
}

/** `scratchPath`: file for a namespace of a moment. `admitted`: the slots that were admitted before this process started. */
export async function openFirewall(
  runner: ProcessRunner,
  options: FirewallOptions,
  scratchPath: string,
  initiallyAdmitted: readonly number[],
): Promise<Firewall> {
  const canonical = await canonicalTables(runner, scratchPath, hostRuleset({ ...options, slots: [] }));
  const admitted = new Set(initiallyAdmitted);
  const serial = createSerial();
  const waiting: Change[] = [];

  async function install(unknownTables: readonly string[] = []): Promise<void> {
    const slots = [...admitted].sort((a, b) => a - b);
    const removals = unknownTables.map((key) => `delete table ${key}\n`).join("");
    await runner.run(["nft", "-f", "-"], { input: removals + renderRuleset(hostRuleset({ ...options, slots })) });
  }

  async function apply(batch: readonly Change[]): Promise<void> {
    for (const { kind, slot } of batch) {
      if (kind === "admit") admitted.add(slot);
      else admitted.delete(slot);
    }
    try {
      const output = await runner.run(["nft", "--echo", batch.map(commandOf).join("; ")]);
      const added = readAddedElements(output);
      const silent = batch.filter(({ kind, slot }) => kind === "admit" && !wasAdded(added, slot));
      // The kernel reports only what is new to it; what was there already has to be read.
      if (silent.length > 0) await confirm(silent.map(({ slot }) => slot));
    } catch {
      // The table was changed under us, for example flushed: the transaction was refused as a whole, so nothing is half done.
      await install();
      await confirm(batch.filter(({ kind }) => kind === "admit").map(({ slot }) => slot));
    }
  }

  async function confirm(slots: readonly number[]): Promise<void> {
    const table = (await listTables(runner)).get(hostTable);
    const lacking = slots.filter((slot) => !isListed(table, slot));
    if (lacking.length > 0) throw new Error(`the kernel did not keep the elements of slot ${lacking.join(", ")}`);
  }

  async function flush(): Promise<void> {
    const batch = takeBatch(waiting);
    if (waiting.length > 0) schedule();
    try {
      await apply(batch);
      for (const change of batch) change.resolve();
    } catch (error) {
      for (const change of batch) {
        if (change.kind === "admit") admitted.delete(change.slot);
        change.reject(error);
      }
    }
  }

  function schedule(): void {
    void serial.run(flush);
  }

  function request(kind: Change["kind"], slot: number): Promise<void> {
    return new Promise((resolve, reject) => {
      waiting.push({ kind, slot, resolve, reject });
      if (waiting.length === 1) schedule();
    });
  }

  async function repair(): Promise<{ drifts: Drift[]; foreign: string[] }> {
    const actual = await listTables(runner);
    const structural = structuralDrift(canonical, actual);
    const { missing, unknown } = elementDifference(admitted, actual.get(hostTable));
    const drifts = [...structural, ...elementDrifts(missing, unknown, actual.has(hostTable))];
    if (drifts.length === 0) return { drifts, foreign: [] };
    if (structural.length > 0) {
      await install(structural.filter(({ kind }) => kind === "unknown-table").map(({ object }) => object));
    } else {
      const commands = [...missing.map(addElement), ...unknown.map(deleteElement)];
      await runner.run(["nft", "-f", "-"], { input: `${commands.join("\n")}\n` });
    }
    const after = await listTables(runner);
    const left = elementDifference(admitted, after.get(hostTable));
    if (structuralDrift(canonical, after).length + left.missing.length + left.unknown.length > 0)
      throw new Error("the kernel's rules still differ after they were repaired");
    return { drifts, foreign: unknown.map(({ element }) => element) };
  }

  // A host that has neither tables nor tenants of ours is new, and making its rules is no repair.
  if (admitted.size === 0 && (await listTables(runner)).size === 0) await install();

  return {
    admit: (slot) => request("admit", slot),
    cut: (slot) => request("cut", slot),
    isAdmitted: (slot) => admitted.has(slot),
    reconcile: () => serial.run(repair),
  };
}

/** Takes what can go in one transaction: no slot twice, since within one transaction only the order of kinds is kept. */
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

function commandOf({ kind, slot }: Change): string {
  const elements = elementsOf(slot);
  const change = tenantSets.map((set) => ({ set, element: elements[set] }));
  return change.map(kind === "admit" ? addElement : deleteElement).join("; ");
}

function addElement({ set, element }: ElementChange): string {
  return `add element ${hostTable} ${set} { ${element} }`;
}

// Deleting what is absent would fail the whole transaction; adding it first makes the pair safe to repeat, and inside one
// transaction nobody ever sees it.
function deleteElement({ set, element }: ElementChange): string {
  const target = `element ${hostTable} ${set} { ${element} }`;
  return `add ${target}; delete ${target}`;
}

function wasAdded(added: ReadonlySet<string>, slot: number): boolean {
  const elements = elementsOf(slot);
  return tenantSets.every((set) => added.has(`${set} ${elements[set]}`));
}

function isListed(table: ListedTable | undefined, slot: number): boolean {
  const elements = elementsOf(slot);
  return tenantSets.every((set) => table?.elements.get(set)?.includes(elements[set]) ?? false);
}

function elementDrifts(
  missing: readonly ElementChange[],
  unknown: readonly ElementChange[],
  tableExists: boolean,
): Drift[] {
  // Without its table, every element is missing for that one reason.
  const absent = tableExists ? missing : [];
  return [
    ...absent.map(({ set, element }) => ({ kind: "missing-element" as const, object: `${set} ${element}` })),
    ...unknown.map(({ set, element }) => ({ kind: "unknown-element" as const, object: `${set} ${element}` })),
  ];
}
