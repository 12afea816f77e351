import type { SetElement } from "../netlink/nft-element.ts";
import type { ListedTable } from "./nft-output.ts";
import { elementId } from "./set-element.ts";

export const driftKinds = [
  "missing-table",
  "unknown-table",
  "changed-rules",
  "missing-element",
  "unknown-element",
  "missing-link",
  "changed-link",
  "unknown-link",
  "missing-namespace",
  "unknown-namespace",
  "changed-namespace",
  "changed-shaping",
] as const;

/** One difference between what should be and what is. */
export interface Drift {
  readonly kind: (typeof driftKinds)[number];
  /** The table, chain, element, link or namespace. */
  readonly object: string;
}

/** Differences in tables, chains, rules and the sets' own properties. `expected` is a listing of the wanted text. */
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

export interface ElementDifference {
  readonly missing: SetElement[];
  readonly unknown: SetElement[];
}

/** Differences between the elements that the tenants should have and those there are. */
export function elementDifference(wanted: readonly SetElement[], actual: readonly SetElement[]): ElementDifference {
  const expected = new Set(wanted.map(elementId));
  const found = new Set(actual.map(elementId));
  return {
    missing: wanted.filter((element) => !found.has(elementId(element))),
    unknown: actual.filter((element) => !expected.has(elementId(element))),
  };
}

function changedBlocks(expected: ListedTable, actual: ListedTable): Drift[] {
  const headings = new Set([...expected.blocks.keys(), ...actual.blocks.keys()]);
  const changed = [...headings].filter((heading) => expected.blocks.get(heading) !== actual.blocks.get(heading));
  return changed.map((heading) => ({ kind: "changed-rules" as const, object: `${expected.key} ${heading}` }));
}
