import { setTimeout as delay } from "node:timers/promises";
import { inspect } from "node:util";
import { askSupervisor, type ControlReport } from "./control.ts";
import { down } from "./down.ts";
import { clientEnvironment, clientPaths } from "./environment.ts";
import { probesOf, waitForHealth } from "./health.ts";
import type { ClientName, CredentialPaths } from "./identities.ts";
import { describeInstance, type Instance, type InstanceName } from "./instance.ts";
import { signalProcess } from "./proc.ts";
import type { ProcessName } from "./processes.ts";
import { type Progress, up } from "./up.ts";

const endingSignals = ["SIGINT", "SIGTERM"] as const;

/** A running instance, for tests and benchmarks. */
export interface Stack {
  readonly instance: Instance;
  /** What `.run/env` holds. */
  readonly env: Readonly<Record<string, string>>;
  /** Certificate and key of a client: `operator`, `viewer`, or `stranger`, who has no role. */
  client(name: ClientName): CredentialPaths;
  /** Every process with its state, now. */
  status(): Promise<readonly ControlReport[]>;
  /** Pid of a process that runs now. Throws if it does not. */
  pid(name: ProcessName): Promise<number>;
  /** Sends a signal to the process that runs now. The supervisor starts it again if it ends. */
  killProcess(name: ProcessName, signal: NodeJS.Signals): Promise<void>;
  /** Stops the process in an orderly way and starts it again; returns when it is healthy. */
  restart(name: ProcessName): Promise<void>;
  /** Ends a process and leaves it ended until `restart`. */
  stop(name: ProcessName): Promise<void>;
  /** Waits until the process, or every one, is healthy. Throws after `limitMs`, by default 30 s. */
  waitHealthy(name?: ProcessName, limitMs?: number): Promise<void>;
  /** Waits until another process than `pid` runs under that name. */
  waitReplaced(name: ProcessName, pid: number, limitMs?: number): Promise<number>;
  /** Removes everything. Throws with the list of what is left over, if anything is. */
  down(): Promise<void>;
}

export interface StackOptions {
  readonly instance: InstanceName;
  readonly progress?: Progress;
}

/** Brings an instance up, or takes the one that is up. A start that fails is taken down again. */
export async function bringUp(options: StackOptions): Promise<Stack> {
  const instance = describeInstance(options.instance);
  const progress = options.progress ?? (() => undefined);
  try {
    await up(instance, progress);
  } catch (error) {
    await down(instance, progress);
    throw error;
  }
  return openStack(instance, progress);
}

/**
 * Runs `body` while an instance is up and takes it down afterwards, which fails if anything of it is left: also when this process is told to end, which it
 * then does.
 */
export async function withStack<T>(options: StackOptions, body: (stack: Stack) => Promise<T>): Promise<T> {
  const starting = bringUp(options);
  let ended: Promise<void> | undefined;
  const end = () => {
    ended ??= starting.then(
      (stack) => stack.down(),
      () => undefined, // it was taken down, and whoever waits for the start is told
    );
    return ended;
  };
  const atSignal = (signal: NodeJS.Signals): void => {
    const report = (error: unknown) => void process.stderr.write(`${inspect(error)}\n`);
    // The listener is gone, so that this ends the process as the signal would have.
    void end()
      .catch(report)
      .finally(() => process.kill(process.pid, signal));
  };
  for (const signal of endingSignals) process.once(signal, atSignal);
  try {
    return await body(await starting);
  } finally {
    await end();
    for (const signal of endingSignals) process.off(signal, atSignal);
  }
}

/** The handle of an instance that is up. */
export function openStack(instance: Instance, progress: Progress = () => undefined): Stack {
  const ask = async (request: Parameters<typeof askSupervisor>[1]): Promise<readonly ControlReport[]> => {
    const answer = await askSupervisor(instance.controlSocketPath, request);
    if (answer === undefined) throw new Error(`instance ${instance.name} has no supervisor: is it up?`);
    return answer.processes;
  };
  const find = async (name: ProcessName): Promise<ControlReport> => {
    const report = (await ask({ verb: "status" })).find((one) => one.name === name);
    if (report === undefined) throw new Error(`${name} is not a process of this stack`);
    return report;
  };
  const waitHealthy = async (name?: ProcessName, limitMs = 30_000): Promise<void> => {
    const pids = new Map((await ask({ verb: "status" })).map(({ name: one, pid }) => [one, pid]));
    const probes = probesOf(instance, (one) => pids.get(one));
    const wanted = new Map([...probes].filter(([one]) => name === undefined || one === name));
    await waitForHealth(wanted, { limitMs, progress: () => undefined });
  };
  return {
    instance,
    env: clientEnvironment(instance),
    client: (name) => clientPaths(instance, name),
    status: () => ask({ verb: "status" }),
    async pid(name) {
      const { pid, state } = await find(name);
      if (pid === undefined || state !== "running") throw new Error(`${name} does not run`);
      return pid;
    },
    async killProcess(name, signal) {
      const { pid, startTicks } = await find(name);
      if (pid === undefined || startTicks === undefined) throw new Error(`${name} does not run`);
      signalProcess({ pid, startTicks }, signal);
    },
    async restart(name) {
      await ask({ verb: "restart", process: name });
      await waitHealthy(name);
    },
    async stop(name) {
      await ask({ verb: "stop", process: name });
    },
    waitHealthy,
    async waitReplaced(name, pid, limitMs = 30_000) {
      const deadline = performance.now() + limitMs;
      for (;;) {
        const report = await find(name);
        if (report.state === "running" && report.pid !== undefined && report.pid !== pid) return report.pid;
        if (performance.now() > deadline) throw new Error(`${name} was not replaced within ${limitMs} ms`);
        await delay(50);
      }
    },
    async down() {
      const left = await down(instance, progress);
      if (left.length > 0) throw new Error(`left over after down:\n${left.join("\n")}`);
    },
  };
}
