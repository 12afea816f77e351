/**
 * The jobs of the workload as it writes them down: `{"jobs": [{"enabled", "schedule": {"kind"}, "state": {"nextRunAtMs", "runningAtMs"}}]}`, which is how
 * OpenClaw keeps its own. The file is its user's and may be anything: it is bounded, read only when it has changed, and what is malformed in it is left out.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { log } from "./log.ts";

export const scheduleKinds = ["cron", "every", "at", "heartbeat"] as const;
export type ScheduleKind = (typeof scheduleKinds)[number];
export type NextRun = { readonly kind: ScheduleKind; readonly timeMs: number };

export type Jobs = { readonly running: number; readonly nextRuns: readonly NextRun[] };

const none: Jobs = { running: 0, nextRuns: [] };
const maximumBytes = 1024 * 1024;
const maximumJobs = 10_000;
const maximumRuns = 100;
/** The latest time that a Date has. */
const maximumMs = 8.64e15;

/** Reads the file at `path`; an image without one, and a workload that has not written any, have no jobs. */
export class JobsFile {
  readonly #path: string | undefined;
  #known = { mark: "", parsed: [] as readonly Job[] };

  constructor(path: string | undefined) {
    this.#path = path;
  }

  read(nowMs: number): Jobs {
    if (this.#path === undefined) return none;
    try {
      return summaryOf(this.#jobs(this.#path), nowMs);
    } catch (error) {
      const { code, name } = error as NodeJS.ErrnoException;
      // Not the message, in which a piece of the file may be.
      if (code !== "ENOENT") log("the workload's jobs cannot be read", { error: code ?? name });
      return none;
    }
  }

  #jobs(path: string): readonly Job[] {
    // Neither a link nor a pipe: the agent is root, and waits for nobody.
    const file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const { size, mtimeMs, ino, isFile } = statOf(file);
      const mark = `${ino} ${size} ${mtimeMs}`;
      if (mark === this.#known.mark) return this.#known.parsed;
      // Whatever is wrong with it is logged once for each change.
      this.#known = { mark, parsed: [] };
      if (!isFile || size > maximumBytes) throw new Error(`not a file of at most ${maximumBytes} bytes`);
      const bytes = Buffer.alloc(maximumBytes);
      const text = bytes.toString("utf8", 0, readSync(file, bytes, 0, maximumBytes, 0));
      this.#known = { mark, parsed: parseJobs(text) };
      return this.#known.parsed;
    } finally {
      closeSync(file);
    }
  }
}

function statOf(file: number) {
  const stat = fstatSync(file);
  return { size: stat.size, mtimeMs: stat.mtimeMs, ino: stat.ino, isFile: stat.isFile() };
}

type Job = { readonly isRunning: boolean; readonly next: NextRun | undefined };

/** Throws for what is not JSON or has no jobs. */
export function parseJobs(text: string): readonly Job[] {
  const document: unknown = JSON.parse(text);
  const jobs = field(document, "jobs");
  if (!Array.isArray(jobs)) throw new Error("has no list of jobs");
  return jobs.slice(0, maximumJobs).flatMap((job: unknown) => {
    if (field(job, "enabled") === false) return [];
    const state = field(job, "state");
    const kind = scheduleKinds.find((known) => known === field(field(job, "schedule"), "kind"));
    const timeMs = momentOf(field(state, "nextRunAtMs"));
    const next = kind === undefined || timeMs === undefined ? undefined : { kind, timeMs };
    return [{ isRunning: momentOf(field(state, "runningAtMs")) !== undefined, next }];
  });
}

/** Of those that are past the last one is enough: what was missed is run once. The rest are the earliest. */
export function summaryOf(jobs: readonly Job[], nowMs: number): Jobs {
  const runs = jobs.flatMap(({ next }) => (next === undefined ? [] : [next])).sort((a, b) => a.timeMs - b.timeMs);
  const firstAhead = runs.findIndex(({ timeMs }) => timeMs > nowMs);
  const from = Math.max(0, (firstAhead === -1 ? runs.length : firstAhead) - 1);
  return {
    running: jobs.filter(({ isRunning }) => isRunning).length,
    nextRuns: runs.slice(from, from + maximumRuns),
  };
}

function momentOf(value: unknown): number | undefined {
  return typeof value === "number" && Number.isFinite(value) && value >= 0 && value <= maximumMs
    ? Math.floor(value)
    : undefined;
}

function field(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null && Object.hasOwn(value, name)
    ? (value as Record<string, unknown>)[name]
    : undefined;
}
