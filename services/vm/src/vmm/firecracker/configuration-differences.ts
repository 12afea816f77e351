import { escapeUntrusted } from "./untrusted-text.ts";

const maxDifferences = 8;
const maxValueCharacters = 80;

/**
 * Compares a VMM's account of its machine with the one ordered, field by field, and returns one line for each difference, at most eight; none
 * when they say the same. `null`, an empty list and a missing field are the same, and so are a burst of 0 and none and a CPU template
 * "None" and none: Firecracker 1.16.1 writes what is not set as `null` and a burst of 0 as `null`. The account is untrusted.
 */
export function configurationDifferences(expected: unknown, actual: unknown): readonly string[] {
  const differences: string[] = [];
  compare("", expected, actual, differences);
  return differences.length > maxDifferences ? [...differences.slice(0, maxDifferences), "and more"] : differences;
}

function compare(path: string, expected: unknown, actual: unknown, differences: string[]): void {
  if (differences.length > maxDifferences) return;
  if (isNothing(path, expected) && isNothing(path, actual)) return;
  if (isTree(expected) && isTree(actual) && Array.isArray(expected) === Array.isArray(actual)) {
    if (Array.isArray(expected) && Array.isArray(actual) && expected.length !== actual.length) {
      differences.push(`${path} has ${actual.length} entries, ordered ${expected.length}`);
    }
    for (const key of new Set([...Object.keys(expected), ...Object.keys(actual)])) {
      const step = Array.isArray(expected) ? `[${key}]` : `${path === "" ? "" : "."}${escapeUntrusted(key, 64)}`;
      compare(`${path}${step}`, own(expected, key), own(actual, key), differences);
    }
    return;
  }
  if (expected !== actual) differences.push(`${path} is ${show(actual)}, ordered ${show(expected)}`);
}

type Tree = Readonly<Record<string, unknown>>;

const isTree = (value: unknown): value is Tree => typeof value === "object" && value !== null;

function own(tree: Tree, key: string): unknown {
  return Object.hasOwn(tree, key) ? tree[key] : undefined;
}

function isNothing(path: string, value: unknown): boolean {
  if (value === undefined || value === null || (Array.isArray(value) && value.length === 0)) return true;
  return (
    (value === 0 && path.endsWith(".one_time_burst")) || (value === "None" && path === "machine-config.cpu_template")
  );
}

function show(value: unknown): string {
  return value === undefined ? "absent" : escapeUntrusted(JSON.stringify(value), maxValueCharacters);
}
