import { elementsOf, type TenantSet, tenantSets } from "./host-ruleset.ts";
import type { ListedTable } from "./nft-output.ts";

/** One difference between what should be and what is. */
export interface Drift {
  readonly kind:
    | "missing-table"
    | "unknown-table"
    | "changed-rules"
    | "missing-element"
    | "unknown-element"
    | "missing-link"
    | "changed-link"
    | "unknown-link"
    | "missing-namespace"
    | "unknown-namespace"
    | "changed-namespace";
  /** The table, chain, element, link or namespace. */
  readonly object: string;
}

export interface ElementChange {
  readonly set: TenantSet;
  readonly element: string;
}

export interface ElementDifference {
  readonly missing: readonly ElementChange[];
  readonly unknown: readonly ElementChange[];
}

/** Sets whose elements the kernel makes by itself. */
const kernelOwned = new Set(["connections"]);

/** Differences in tables, chains, rules, and in sets other than the tenants'. `expected` is a listing of the wanted text. */
export function structuralDrift(
  expected: ReadonlyMap<string, ListedTable>,
  actual: ReadonlyMap<string, ListedTable>,
): Drift[] {
  const drifts: Drift[] = [];
  for (const [key, table] of expected) {
    const found = actual.get(key);
    if (found === undefined) drifts.push({ kind: "missing-table", object: key });
    else drifts.push(...changedBlocks(table, found));
  }
  for (const key of actual.keys()) {
    if (!expected.has(key)) drifts.push({ kind: "unknown-table", object: key });
  }
  return drifts;
}

/** Differences in the elements of the tenants' sets, given the slots that should be admitted. */
export function elementDifference(slots: Iterable<number>, table: ListedTable | undefined): ElementDifference {
  const wanted = [...slots].map(elementsOf);
  const missing: ElementChange[] = [];
  const unknown: ElementChange[] = [];
  for (const set of tenantSets) {
    const expected = new Set(wanted.map((elements) => elements[set]));
    const actual = new Set(table?.elements.get(set) ?? []);
    missing.push(...[...expected.difference(actual)].map((element) => ({ set, element })));
    unknown.push(...[...actual.difference(expected)].map((element) => ({ set, element })));
  }
  return { missing, unknown };
}

function changedBlocks(expected: ListedTable, actual: ListedTable): Drift[] {
  const headings = new Set([...expected.blocks.keys(), ...actual.blocks.keys()]);
  const changed = [...headings].filter((heading) => !sameBlock(expected, actual, heading));
  return changed.map((heading) => ({ kind: "changed-rules" as const, object: `${expected.key} ${heading}` }));
}

function sameBlock(expected: ListedTable, actual: ListedTable, heading: string): boolean {
  if (expected.blocks.get(heading) !== actual.blocks.get(heading)) return false;
  const set = heading.startsWith("set ") ? heading.slice(4) : undefined;
  if (set === undefined || kernelOwned.has(set) || tenantSets.some((name) => name === set)) return true;
  return JSON.stringify(expected.elements.get(set)) === JSON.stringify(actual.elements.get(set));
}
