import { measureAppends, writers } from "@lobsterd/audit/log/append.bench.ts";
import { type Goal, report } from "./report.ts";
import { median, quantile } from "./statistics.ts";

/** What a durable, signed, indexed record costs, beside a bare loop that commits each to SQLite. Prints its figures; returns its goals. */
export async function measureAudit(progress: (line: string) => void): Promise<readonly Goal[]> {
  progress(`appending to the audit log with ${writers} writers`);
  const { logPerSecond, commitPerSecond, waitsMs } = await measureAppends();
  report(`audit: appends per second, ${writers} writers`, logPerSecond, "/s");
  report("audit: bare SQLite, a commit for each record", commitPerSecond, "/s");
  for (const share of [0.5, 0.99])
    report(`audit: wait for a receipt, p${share * 100}`, [quantile(waitsMs, share)], "ms", 2);
  // Round by round: the two of a round met the same machine.
  const ratios = logPerSecond.map((rate, round) => rate / (commitPerSecond[round] ?? Number.NaN));
  return [{ what: "audit: appends to commits", measured: median(ratios), limit: 10, unit: " : 1", atLeast: true }];
}
