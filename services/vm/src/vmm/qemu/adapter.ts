import type { Duplex, Readable, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { reasonOf, ServiceError } from "@lobsterd/chassis/errors.ts";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { release } from "@lobsterd/chassis/release.ts";
import { z } from "zod";
import { createTurns } from "../../lifecycle/turns.ts";
import { type VmmHost, type VmmPort, type VmStart, type VmStartReport, vmmFail } from "../port.ts";
import { frameState, unframeState } from "../saved-state.ts";
import { arriving, type Flow, mapFailures, noteFailure, openFlow, portFailure, writesTo } from "../state-flow.ts";
import { type Monitor, openMonitor } from "./monitor.ts";

const saveWithinMs = 3_600_000;
const settlesWithin = { timeoutMs: 30_000, intervalMs: 10 };
/** Far above any memory's: a paused guest's state goes in one pass and is not held back. */
const bytesPerSecond = 64 * 1024 ** 3;
/** Where QEMU finds the launcher's socket; a name of the jail's. */
const stateUri = "unix:/run/state.sock";

const anything = z.unknown();
const statusSchema = z.looseObject({ status: z.string().max(64) });
const migrationSchema = z.looseObject({ status: z.string().max(64).optional() });

const failedMigrations = new Set(["failed", "cancelled"]);
const movingMigrations = new Set(["setup", "active", "cancelling", "device", "pre-switchover", "wait-unplug"]);

export type QemuChannel = "api" | "state" | "incoming";

/** What starts QEMU for this adapter: the launcher, or a double of it. */
export interface QemuHost extends VmmHost {
  /** Errors: NOT_FOUND (it does not run), CHANNEL_BUSY, HOST_UNSAFE, UNAVAILABLE, TIMED_OUT. */
  connect(vmId: string, channel: QemuChannel): Promise<Duplex>;
  /** Starts a VMM that waits for the VM's state on "incoming"; no guest code has run. Errors: those of `start`. */
  startWaiting(start: VmStart): Promise<VmStartReport>;
  stop(vmId: string): Promise<void>;
}

export interface QemuOptions {
  /** A save or load of which no byte passes for this long is given up; a minute by default. */
  readonly stallMs?: number;
}

export function isQemuHost(host: VmmHost): host is QemuHost {
  return ["connect", "startWaiting", "stop"].every((verb) => verb in host);
}

/**
 * The VMM port on QEMU, whose host does everything but what is done over its monitor: saving, loading and letting the guest go on.
 *
 * 1. A guest whose state is complete never runs again here: `save` returns, and only the caller knows whether the state will be used.
 * 2. A loaded guest has run no instruction before `resume`, and a load that fails leaves no process.
 * 3. Whether a state is complete is what QEMU says after its last byte, over a connection through the same launcher: one that was killed
 *    meanwhile cannot carry the answer.
 */
export function openQemuVmm(host: QemuHost, { stallMs }: QemuOptions = {}): VmmPort {
  const { take } = createTurns();
  return {
    describe: () => host.describe(),
    list: () => host.list(),
    prepare: (preparation) => take(preparation.vmId, () => host.prepare(preparation)),
    start: (start) => take(start.vmId, () => host.start(start)),
    inspect: (vmId) => take(vmId, () => host.inspect(vmId)),
    emptyIdentityDrive: (vmId) => take(vmId, () => host.emptyIdentityDrive(vmId)),
    stop: (vmId) => take(vmId, () => host.stop(vmId)),
    remove: (vmId) => take(vmId, () => host.remove(vmId)),
    save: (vmId, sink) =>
      take(vmId, () => save(host, vmId, sink, stallMs)).finally(() => sink.writableFinished || sink.destroy()),
    readDisk: (vmId) => take(vmId, () => host.readDisk(vmId)),
    writeDisk: (vmId, disk) => host.writeDisk(vmId, disk),
    replaceDisk: (vmId) => take(vmId, () => host.replaceDisk(vmId)),
    pause: (vmId) =>
      take(vmId, () =>
        withMonitor(host, vmId, async (monitor) => {
          const status = await statusOf(monitor);
          if (status !== "running" && status !== "paused")
            throw vmmFail("WRONG_STATE", `it cannot be paused: ${JSON.stringify(status)}`);
          // Returns when what the guest had written is out of QEMU.
          if (status === "running") await monitor.execute("stop", anything);
        }),
      ),
    unpause: (vmId) =>
      take(vmId, () =>
        withMonitor(host, vmId, async (monitor) => {
          if ((await statusOf(monitor)) !== "running") await letRun(monitor);
        }),
      ),
    load: (start, state) => take(start.vmId, () => load(host, start, state, stallMs)).finally(() => state.destroy()),
    resume: (vmId) =>
      take(vmId, () =>
        withMonitor(host, vmId, async (monitor) => {
          const status = await statusOf(monitor);
          if (status !== "paused")
            throw vmmFail("WRONG_STATE", `it was not loaded, or runs: ${JSON.stringify(status)}`);
          await letRun(monitor);
        }),
      ),
  };
}

async function save(
  host: QemuHost,
  vmId: string,
  sink: Writable,
  stallMs?: number,
): Promise<{ readonly bytes: number }> {
  sink.on("error", () => {}); // it may fail before it is written to, which then tells it
  const facts = Promise.all([host.describe(), host.inspect(vmId)]);
  facts.catch(() => {}); // the monitor may fail first
  return withMonitor(host, vmId, async (monitor) => {
    const [status, [description, { cgroup }]] = await Promise.all([statusOf(monitor), facts]);
    // A state cannot be longer than all that the VMM may have in memory.
    const limitBytes = Number(cgroup["memory.max"] ?? cgroup["memory.limit_in_bytes"]);
    if (status !== "running") throw vmmFail("WRONG_STATE", `it does not run: ${JSON.stringify(status)}`);
    const flow = openFlow(limitBytes, stallMs);
    // A pipeline tells of it only when its source brings something.
    const abandon = () => sink.writableFinished || flow.abort(sink.errored ?? new Error("the sink was closed"));
    sink.once("close", abandon);
    try {
      await monitor.execute("stop", anything);
      await monitor.execute("migrate-set-parameters", anything, { "max-bandwidth": bytesPerSecond });
      const state = await host.connect(vmId, "state");
      state.on("error", () => {}); // whoever reads it is told
      const complete = () => migrationEnds(monitor);
      const frames = flow.watch(mapFailures(frameState(description, arriving(state), complete)), state);
      const streaming = pipeline(frames, sink, { signal: flow.signal });
      const over = new AbortController();
      const migrating = migrate(monitor, flow, over.signal);
      await Promise.race([streaming, migrating.then(() => streaming)]).finally(async () => {
        state.destroy();
        over.abort();
        await Promise.allSettled([streaming, migrating]);
      });
      return { bytes: flow.bytes() };
    } catch (error) {
      const failure = flow.cause(error);
      await goOnAfter(host, vmId, monitor, failure);
      throw failure;
    } finally {
      sink.off("close", abandon);
      flow.end();
    }
  });
}

/** Orders the state to be sent, and ends the flow when QEMU gives up before the stream shows it. */
async function migrate(monitor: Monitor, flow: Flow, over: AbortSignal): Promise<void> {
  try {
    await monitor.execute("migrate", anything, { uri: stateUri });
    const failed = async () => {
      const status = await migrationOf(monitor);
      if (failedMigrations.has(status)) throw vmmFail("VMM_FAILED", `QEMU could not send the state: ${status}`);
      return status === "completed" || undefined;
    };
    await waitFor("the state", failed, { timeoutMs: saveWithinMs, intervalMs: 50, signal: over });
  } catch (error) {
    if (over.aborted) return;
    // An abort closes the channel, which QEMU then fails of.
    const failure = flow.signal.aborted ? flow.signal.reason : portFailure(error);
    flow.abort(failure);
    throw failure;
  }
}

/** Returns when QEMU has sent everything. Throws when it has not, or does not say so. */
async function migrationEnds(monitor: Monitor): Promise<void> {
  const ended = async () => {
    const status = await migrationOf(monitor);
    if (failedMigrations.has(status)) throw vmmFail("VMM_FAILED", `QEMU did not send the whole state: ${status}`);
    return status === "completed" || undefined;
  };
  await settles("the end of the state", ended);
}

/** The guest runs again after a save that failed, whose state is worth nothing. */
async function goOnAfter(host: QemuHost, vmId: string, monitor: Monitor, failure: unknown): Promise<void> {
  const goOn = async (conversation: Monitor) => {
    await conversation.execute("migrate_cancel", anything);
    const settled = async () => !movingMigrations.has(await migrationOf(conversation)) || undefined;
    await settles("the end of the migration", settled);
    if ((await statusOf(conversation)) !== "running") await letRun(conversation);
  };
  try {
    // What failed may be this conversation.
    await goOn(monitor).catch(() => {
      monitor.close();
      return withMonitor(host, vmId, goOn);
    });
  } catch (cause) {
    if (reasonOf(cause) === "NOT_FOUND") return; // it ended
    const message = `the state was not saved (${reasonOf(failure) ?? "its sink failed"}), and the guest may be paused`;
    throw vmmFail("UNAVAILABLE", message, { cause: new AggregateError([failure, cause], message) });
  }
}

async function load(host: QemuHost, start: VmStart, state: Readable, stallMs?: number): Promise<VmStartReport> {
  const { vmId } = start;
  const source = noteFailure(state);
  const description = await host.describe();
  const { stagesMs, ...report } = await host.startWaiting(start);
  const began = performance.now();
  const flow = openFlow(Number.POSITIVE_INFINITY, stallMs);
  let channel: Duplex | undefined;
  try {
    channel = await host.connect(vmId, "incoming");
    const loaded = unframeState(description, source.read(), release);
    await pipeline(flow.watch(loaded, state), writesTo(channel), { signal: flow.signal });
    // The channel stays open until then: what is still on its way to QEMU would be lost with it.
    await withMonitor(host, vmId, requireLoaded).catch((cause: unknown) => {
      if (reasonOf(cause) !== "NOT_FOUND") throw cause;
      throw vmmFail("VMM_FAILED", "the VMM ended of the state", { cause });
    });
  } catch (error) {
    const failure = source.failure() ?? portFailure(flow.cause(error));
    await host.stop(vmId).catch((cause: unknown) => {
      const message = "the state was not loaded, and the VMM that it left could not be stopped";
      throw vmmFail("UNAVAILABLE", message, { cause: new AggregateError([failure, cause], message) });
    });
    throw failure;
  } finally {
    flow.end();
    channel?.destroy();
  }
  return { stagesMs: { ...stagesMs, resume: stagesMs.resume + performance.now() - began }, ...report };
}

async function requireLoaded(monitor: Monitor): Promise<void> {
  const loaded = async () => {
    const status = await statusOf(monitor);
    return status === "inmigrate" ? undefined : status;
  };
  const status = await settles("the load", loaded);
  if (status !== "paused") throw vmmFail("VMM_FAILED", `the loaded VM is ${JSON.stringify(status)}`);
}

/** Waits for what QEMU does by itself. Errors: TIMED_OUT, and those of `probe`. */
async function settles<T>(what: string, probe: () => Promise<T | undefined>): Promise<T> {
  return await waitFor(what, probe, settlesWithin).catch((cause: Error) => {
    throw cause instanceof ServiceError ? cause : vmmFail("TIMED_OUT", `QEMU: ${cause.message}`, { cause });
  });
}

async function withMonitor<T>(host: QemuHost, vmId: string, work: (monitor: Monitor) => Promise<T>): Promise<T> {
  const monitor = await openMonitor(await host.connect(vmId, "api"));
  try {
    return await work(monitor);
  } finally {
    monitor.close();
  }
}

const statusOf = async (monitor: Monitor) => (await monitor.execute("query-status", statusSchema)).status;
const migrationOf = async (monitor: Monitor) =>
  (await monitor.execute("query-migrate", migrationSchema)).status ?? "none";

/** Asking for the status afterwards would wait for the guest's first instructions; the event comes before the answer. */
async function letRun(monitor: Monitor): Promise<void> {
  await monitor.execute("cont", anything);
  if (!monitor.events.has("RESUME")) throw vmmFail("VMM_FAILED", "QEMU does not let the guest run");
}
