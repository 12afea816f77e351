import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { EventEmitter, once } from "node:events";
import type { Readable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { probeHealth } from "./health-probe.ts";
import { LineSplitter } from "./line-splitter.ts";
import { log, logOutput } from "./log.ts";
import { LogRing } from "./log-ring.ts";
import { signalGroup } from "./process-group.ts";
import type { SpanContext, Tracer } from "./tracer.ts";
import type { WorkloadManifest } from "./workload-manifest.ts";

export type WorkloadState = "waiting-for-secrets" | "starting" | "healthy" | "unhealthy" | "failed";

const startingIntervalMs = 40;
const watchingIntervalMs = 5_000;
const probeTimeoutMs = 2_000;
/** One lost probe on a busy host is not an outage. */
const failuresToUnhealthy = 3;

/** Reads a workload's output line by line, so that it never holds a descriptor of the agent's. */
function relay(stream: Readable | null, name: string, output: LogRing): void {
  const lines = new LineSplitter((line) => {
    output.append(line);
    logOutput(name, line);
  });
  stream?.on("data", (chunk: Buffer) => lines.push(chunk)).on("end", () => lines.end());
}

/** One run of the workload's process. */
type Run = { readonly child: ChildProcess; readonly ended: AbortController };

/** The image's workload: one process group under its own user. It is not restarted by itself, only when its secrets ask for it. */
export class Workload {
  /** The last lines of all its runs. */
  readonly output = new LogRing();
  readonly #manifest: WorkloadManifest;
  readonly #tracer: Tracer;
  readonly #changes = new EventEmitter();
  #state: WorkloadState = "waiting-for-secrets";
  #secretEnvironment: Readonly<Record<string, string>> = {};
  /** Of what the run that is there was last given, which `forgetSecretEnvironment` does not change. */
  #secretDigest = digestOf({});
  #run: Run | undefined;
  #isStopped = false;

  constructor(manifest: WorkloadManifest, tracer: Tracer) {
    this.#manifest = manifest;
    this.#tracer = tracer;
    this.#changes.setMaxListeners(64);
  }

  get state(): WorkloadState {
    return this.#state;
  }

  /** What the next run has in its environment beside the image's variables. True if that is a change. */
  setSecretEnvironment(variables: Readonly<Record<string, string>>): boolean {
    const digest = digestOf(variables);
    const isChange = digest !== this.#secretDigest;
    this.#secretDigest = digest;
    this.#secretEnvironment = { ...variables };
    return isChange;
  }

  /** Drops the values; the same ones set again are no change. A run that begins meanwhile has none of them. */
  forgetSecretEnvironment(): void {
    this.#secretEnvironment = {};
  }

  /** Starts the process below `parent` in the trace. Does nothing when it was started before. */
  start(parent: SpanContext | undefined): void {
    if (this.#state === "waiting-for-secrets") this.#launch(parent);
  }

  /** Ends the process group as `stop` does and starts it anew; one that was not started yet is started, one that had failed gets another try. */
  async restart(graceMs: number, parent: SpanContext | undefined): Promise<void> {
    const run = this.#run;
    this.#run = undefined;
    if (run !== undefined) await end(run, graceMs);
    this.#launch(parent);
  }

  #launch(parent: SpanContext | undefined): void {
    if (this.#isStopped) return;
    this.#become("starting");
    const { command, user, environment } = this.#manifest;
    const child = spawn(command[0] ?? "", command.slice(1), {
      uid: user.uid,
      gid: user.gid,
      cwd: environment.HOME ?? "/",
      env: { ...environment, ...this.#secretEnvironment },
      stdio: ["ignore", "pipe", "pipe"],
      // Its own session and process group: stopping reaches whatever it forked.
      detached: true,
    });
    const run = { child, ended: new AbortController() };
    this.#run = run;
    relay(child.stdout, "stdout", this.output);
    relay(child.stderr, "stderr", this.output);
    child.on("error", (error) => this.#ended(run, "workload cannot be run", { error: error.message }));
    child.on("exit", (code, signal) => this.#ended(run, "workload ended", { code: code ?? -1, signal: signal ?? "" }));
    void this.#watch(run, parent);
  }

  /** A run that was ended to make room for the next one is no failure. */
  #ended(run: Run, message: string, facts: Readonly<Record<string, string | number>>): void {
    log(message, facts);
    run.ended.abort();
    if (run === this.#run) this.#become("failed");
  }

  #become(state: WorkloadState): void {
    if (this.#state === state) return;
    this.#state = state;
    this.#changes.emit("change");
  }

  async #watch(run: Run, parent: SpanContext | undefined): Promise<void> {
    const span = this.#tracer.start("workload.start", parent);
    const target = { port: this.#manifest.port, path: this.#manifest.healthPath, timeoutMs: probeTimeoutMs };
    const { signal } = run.ended;
    let failures = 0;
    while (!signal.aborted) {
      const healthy = await probeHealth(target);
      // The process may have ended while the probe waited: what it said is of the past.
      if (signal.aborted || run !== this.#run) break;
      failures = healthy ? 0 : failures + 1;
      if (healthy) {
        span?.end();
        this.#become("healthy");
      } else if (this.#state === "healthy" && failures >= failuresToUnhealthy) this.#become("unhealthy");
      const intervalMs = this.#state === "starting" ? startingIntervalMs : watchingIntervalMs;
      // Aborting the delay ends the loop, which is how it is meant to end.
      await delay(intervalMs, undefined, { signal }).catch(() => undefined);
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

  /** Ends the process group for good: SIGTERM, and SIGKILL after `graceMs`. */
  async stop(graceMs: number): Promise<void> {
    this.#isStopped = true;
    if (this.#run !== undefined) await end(this.#run, graceMs);
  }
}

function digestOf(variables: Readonly<Record<string, string>>): string {
  const sorted = Object.entries(variables).sort(([one], [other]) => (one < other ? -1 : 1));
  return createHash("sha256").update(JSON.stringify(sorted)).digest("base64");
}

async function end({ child, ended }: Run, graceMs: number): Promise<void> {
  ended.abort();
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  const { pid } = child;
  signalGroup(pid, "SIGTERM");
  const timer = setTimeout(() => signalGroup(pid, "SIGKILL"), graceMs);
  await exited;
  clearTimeout(timer);
}
