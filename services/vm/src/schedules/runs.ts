/**
 * What a guest's schedule means for its tenant. The times are the guest's own and may be anything; all that comes of them is when this tenant is
 * resumed, between 10 s and 400 days from now, and for how long it is left awake.
 */
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { type ScheduledRun as RunMessage, ScheduleKind } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";

export interface ScheduledRun {
  readonly kind: "cron" | "interval" | "at" | "heartbeat";
  readonly timeMs: number;
}

/** Times of the host's clock, in milliseconds since 1970. */
export interface ScheduleMoment {
  readonly nowMs: number;
  /** Since when the tenant runs. */
  readonly runTimeMs: number;
  /** What was due until then has had a wake of its own. */
  readonly servedThroughMs: number;
  /** How long before a run the tenant is resumed. */
  readonly leadMs: number;
}

export const earliestWakeMs = 10_000;
export const latestWakeMs = 400 * 24 * 3_600_000;
/** A workload looks at the clock once a minute at least; while it was suspended its own timers stood still. */
export const graceMs = 75_000;

const kinds: Partial<Record<ScheduleKind, ScheduledRun["kind"]>> = {
  [ScheduleKind.CRON]: "cron",
  [ScheduleKind.INTERVAL]: "interval",
  [ScheduleKind.AT]: "at",
  [ScheduleKind.HEARTBEAT]: "heartbeat",
};

export function toScheduledRuns(messages: readonly RunMessage[]): readonly ScheduledRun[] {
  return messages.flatMap(({ kind, time }) => {
    const known = kinds[kind];
    return known === undefined || time === undefined ? [] : [{ kind: known, timeMs: timestampMs(time) }];
  });
}

/**
 * When a tenant that is suspended now has to be resumed. What has passed is run once: it is owed a wake unless it has had one, or unless the
 * tenant has been awake for long enough since. No wake that has been serves more than `leadMs` from now: one that says so had a clock that was ahead,
 * and what it says is worth nothing.
 */
export function nextWake(
  runs: readonly ScheduledRun[],
  { nowMs, runTimeMs, servedThroughMs, leadMs }: ScheduleMoment,
): number | undefined {
  const isFreshlyAwake = nowMs - runTimeMs < graceMs;
  const servedMs = servedThroughMs > nowMs + leadMs ? 0 : servedThroughMs;
  const owed = runs.filter(({ timeMs }) => timeMs > servedMs && (isFreshlyAwake || timeMs > nowMs - graceMs));
  if (owed.length === 0) return undefined;
  const firstMs = Math.min(...owed.map(({ timeMs }) => timeMs));
  return Math.round(Math.min(nowMs + latestWakeMs, Math.max(nowMs + earliestWakeMs, firstMs - leadMs)));
}

/** Whether a run is so near that a suspend is not worth it, or was due so lately that the workload may not have seen it. */
export function isRunDue(runs: readonly ScheduledRun[], { nowMs, runTimeMs, leadMs }: ScheduleMoment): boolean {
  return runs.some(
    ({ timeMs }) => timeMs <= nowMs + leadMs + earliestWakeMs && nowMs < Math.max(timeMs, runTimeMs) + graceMs,
  );
}
