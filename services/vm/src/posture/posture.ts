/**
 * The host's posture while the service runs. Invariants:
 *
 * 1. In production no tenant is spawned or resumed on a host that was not looked at, or while a required control is failed or unknown.
 * 2. A refusal is about the host as it is: a report that refuses is renewed before it does, at most every 10 s.
 * 3. A control that no longer passes is told once, as event and audit record, and so is a waiver that comes into force.
 */
import { fail } from "../errors.ts";
import type { HostEvents } from "../events.ts";
import { blockers, type ControlRow, isUnmet, type PostureReport } from "./report.ts";

export type HostMode = "production" | "development";

export interface HostPosture {
  readonly mode: HostMode;
  /** Looks at every control now. Calls at the same time share one look. */
  check(): Promise<PostureReport>;
  /** `undefined` until the first look has ended. */
  latest(): PostureReport | undefined;
  /** Throws HOST_POSTURE in production mode when the host must not get a tenant. Changes nothing. */
  admitSpawn(): Promise<void>;
}

export interface PostureOptions {
  readonly mode: HostMode;
  readonly look: () => Promise<PostureReport>;
  readonly events: HostEvents;
  readonly now: () => number;
  /** A report that is older is not relied on. */
  readonly maxAgeMs: number;
}

const refusalAgeMs = 10_000;

export function createPosture({ mode, look, events, now, maxAgeMs }: PostureOptions): HostPosture {
  let latest: PostureReport | undefined;
  let running: Promise<PostureReport> | undefined;

  async function lookOnce(): Promise<PostureReport> {
    const report = await look();
    tell(latest, report, mode, events);
    latest = report;
    return report;
  }

  function check(): Promise<PostureReport> {
    running ??= lookOnce().finally(() => {
      running = undefined;
    });
    return running;
  }

  return {
    mode,
    check,
    latest: () => latest,
    admitSpawn: async () => {
      if (mode === "development") return;
      const isWithin = (report: PostureReport, ageMs: number) => now() - report.checkTimeMs <= ageMs;
      let report = latest !== undefined && isWithin(latest, maxAgeMs) ? latest : await check();
      if (blockers(report).length > 0 && !isWithin(report, refusalAgeMs)) report = await check();
      const ids = blockers(report).map(({ id }) => id);
      if (ids.length === 0) return;
      throw fail("HOST_POSTURE", `this host must not get a tenant: ${ids.join(", ")}; CheckHost says why`, {
        metadata: { controls: ids.join(",") },
      });
    },
  };
}

function tell(before: PostureReport | undefined, report: PostureReport, mode: HostMode, events: HostEvents): void {
  if (before === undefined) events.hostJudged(mode, report);
  const earlier = new Map<string, ControlRow>(before?.rows.map((row) => [row.id, row]));
  for (const row of report.rows) {
    const old = earlier.get(row.id);
    if (row.verdict === "waived" && old?.verdict !== "waived") events.hostControlWaived(row);
    if (old !== undefined && !isUnmet(old.verdict) && isUnmet(row.verdict)) events.hostControlFailed(row);
    if (old !== undefined && isUnmet(old.verdict) && !isUnmet(row.verdict)) events.hostControlMet(row);
  }
}
