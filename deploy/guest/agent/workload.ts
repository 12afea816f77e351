import { type ChildProcess, spawn } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { probeHealth } from "./health-probe.ts";
import { log } from "./log.ts";
import type { SpanContext, Tracer } from "./tracer.ts";
import type { WorkloadManifest } from "./workload-manifest.ts";

export type WorkloadState = "waiting-for-secrets" | "starting" | "healthy" | "unhealthy" | "failed";

const startingIntervalMs = 40;
const watchingIntervalMs = 5_000;
const probeTimeoutMs = 2_000;
/** One lost probe on a busy host is not an outage. */
const failuresToUnhealthy = 3;

/** Writes a workload's output to the agent's log, so that it never holds a descriptor of the agent's. */
function relay(stream: Readable | null, name: string): void {
  if (stream === null) return;
  createInterface({ input: stream }).on("line", (line) =>
    log("workload output", { stream: name, line: line.slice(0, 8192) }),
  );
}

/** The image's workload: one process group under its own user, started once and never restarted. */
export class Workload {
  readonly #manifest: WorkloadManifest;
  readonly #tracer: Tracer;
  readonly #changes = new EventEmitter();
  readonly #stopped = new AbortController();
  #state: WorkloadState = "waiting-for-secrets";
  #process: ChildProcess | undefined;

  constructor(manifest: WorkloadManifest, tracer: Tracer) {
    this.#manifest = manifest;
    this.#tracer = tracer;
    this.#changes.setMaxListeners(64);
  }

  get state(): WorkloadState {
    return this.#state;
  }

  /** Starts the process below `parent` in the trace. Does nothing when it was started before. */
  start(parent: SpanContext | undefined): void {
    if (this.#state !== "waiting-for-secrets" || this.#stopped.signal.aborted) return;
    this.#become("starting");
    const { command, user, environment } = this.#manifest;
    const child = spawn(command[0] ?? "", command.slice(1), {
      uid: user.uid,
      gid: user.gid,
      cwd: environment.HOME ?? "/",
      env: { ...environment },
      stdio: ["ignore", "pipe", "pipe"],
      // Its own session and process group: stopping reaches whatever it forked.
      detached: true,
    });
    this.#process = child;
    relay(child.stdout, "stdout");
    relay(child.stderr, "stderr");
    child.on("error", (error) => this.#end("workload cannot be run", { error: error.message }));
    child.on("exit", (code, signal) => this.#end("workload ended", { code: code ?? -1, signal: signal ?? "" }));
    void this.#watch(parent);
  }

  #end(message: string, facts: Readonly<Record<string, string | number>>): void {
    log(message, facts);
    this.#become("failed");
    this.#stopped.abort();
  }

  #become(state: WorkloadState): void {
    if (this.#state === state || this.#state === "failed") return;
    this.#state = state;
    this.#changes.emit("change");
  }

  async #watch(parent: SpanContext | undefined): Promise<void> {
    const span = this.#tracer.start("workload.start", parent);
    const target = { port: this.#manifest.port, path: this.#manifest.healthPath, timeoutMs: probeTimeoutMs };
    let failures = 0;
    while (!this.#stopped.signal.aborted) {
      const healthy = await probeHealth(target);
      failures = healthy ? 0 : failures + 1;
      if (healthy) {
        span?.end();
        this.#become("healthy");
      } else if (this.#state === "healthy" && failures >= failuresToUnhealthy) this.#become("unhealthy");
      const intervalMs = this.#state === "starting" ? startingIntervalMs : watchingIntervalMs;
      // Aborting the delay ends the loop, which is how it is meant to end.
      await delay(intervalMs, undefined, { signal: this.#stopped.signal }).catch(() => undefined);
    }
    span?.end({ failed: true });
  }

  /** Returns when the workload is healthy or can never be, after `waitMs`, or when `signal` aborts. */
  async settled(waitMs: number, signal: AbortSignal): Promise<void> {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(waitMs)]);
    while (this.#state !== "healthy" && this.#state !== "failed" && !limit.aborted) {
      await once(this.#changes, "change", { signal: limit }).catch((error: unknown) => {
        if (!limit.aborted) throw error;
      });
    }
  }

  /** Resolves when the workload is healthy for the first time; never if it fails before. */
  async firstHealthy(): Promise<void> {
    while (this.#state !== "healthy") await once(this.#changes, "change");
  }

  /** Ends the process group: SIGTERM, and SIGKILL after `graceMs`. */
  async stop(graceMs: number): Promise<void> {
    const child = this.#process;
    this.#stopped.abort();
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, "exit");
    process.kill(-child.pid, "SIGTERM");
    const timer = setTimeout(() => process.kill(-(child.pid ?? 0), "SIGKILL"), graceMs);
    await exited;
    clearTimeout(timer);
  }
}
