import { amountsOf, type MeasuredHost, measureCapacity } from "./lifecycle/capacity.ts";
import { vmMetrics } from "./metrics.ts";
import type { PostureReport } from "./posture/report.ts";
import type { VmContext } from "./service.ts";
import type { TenantStore } from "./store/tenants.ts";

const verdicts = ["pass", "fail", "unknown", "waived", "not-applicable"] as const;

/** Shows what this host has, holds and is, at each export; nothing is asked while nobody exports. */
export function showHost({
  tenants,
  bootQueue,
  parts,
  files,
  config,
  posture,
}: Pick<VmContext, "tenants" | "bootQueue" | "files" | "config" | "posture"> &
  Pick<MeasuredHost, "parts">): readonly Disposable[] {
  return [
    vmMetrics.tenants.observe(countStates(tenants)),
    vmMetrics.bootsWaiting.observe(() => bootQueue.waiting),
    vmMetrics.capacity.observe(async () => {
      const capacity = await measureCapacity({ parts, files, config });
      const held = amountsOf(tenants.resources(), capacity);
      const rows = [
        ["vcpus", capacity.vcpus, held.vcpus],
        ["memory_mib", capacity.memoryMib, held.memoryMib],
        ["disk_mib", capacity.diskMib, held.diskMib],
        ["connections", capacity.connections, held.connections],
        ["slots", Math.min(capacity.jailUids, config.slotCount), tenants.count()],
      ] as const;
      return rows
        .filter(([, limit]) => Number.isFinite(limit))
        .flatMap(([resource, limit, taken]) => [
          [limit, { resource, what: "limit" }] as const,
          [taken, { resource, what: "held" }] as const,
        ]);
    }),
    vmMetrics.controls.observe(() => countVerdicts(posture.latest())),
  ];
}

/** A state that has been seen once is shown as 0 from then on: a series that only stops would be taken for its last value. */
function countStates(tenants: TenantStore) {
  const counts = new Map<string, number>([
    ["running", 0],
    ["failed", 0],
  ]);
  return () => {
    for (const state of counts.keys()) counts.set(state, 0);
    for (const { state, count } of tenants.countByState()) counts.set(state, count);
    return [...counts].map(([state, count]) => [count, { state }] as const);
  };
}

function countVerdicts(report: PostureReport | undefined) {
  if (report === undefined) return undefined;
  return verdicts.flatMap((verdict) =>
    [true, false].map((required) => {
      const rows = report.rows.filter((row) => row.verdict === verdict && row.required === required);
      return [rows.length, { verdict, required: required ? "true" : "false" }] as const;
    }),
  );
}
