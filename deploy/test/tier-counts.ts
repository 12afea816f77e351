import type { run } from "node:test";

/** What one tier came to. `skipped` holds `name: reason`. */
export interface TierCounts {
  passed: number;
  failed: number;
  skipped: string[];
}

/** Counts tests as they end. Suites are not tests; a file that could not be run at all is a failure. */
export function countEvents(stream: ReturnType<typeof run>): Promise<TierCounts> {
  const counts: TierCounts = { passed: 0, failed: 0, skipped: [] };
  stream.on("test:pass", (event) => {
    if (event.details.type === "suite") return;
    if (event.skip !== undefined && event.skip !== false) {
      counts.skipped.push(`${event.name}: ${event.skip === true ? "no reason given" : event.skip}`);
    } else {
      counts.passed++;
    }
  });
  stream.on("test:fail", (event) => {
    if (event.details.type !== "suite") counts.failed++;
  });
  return new Promise((resolve, reject) => {
    stream.once("end", () => resolve(counts));
    stream.once("error", reject);
  });
}

export function addCounts(all: readonly TierCounts[]): TierCounts {
  const sum = (of: (counts: TierCounts) => number) => all.reduce((total, counts) => total + of(counts), 0);
  return {
    passed: sum(({ passed }) => passed),
    failed: sum(({ failed }) => failed),
    skipped: all.flatMap(({ skipped }) => skipped),
  };
}
