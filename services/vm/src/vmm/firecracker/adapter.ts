import { reasonOf, ServiceError } from "@lobsterd/chassis/errors.ts";
import { createTurns } from "../../lifecycle/turns.ts";
import { type VmmPort, type VmStart, type VmStartReport, vmmFail } from "../port.ts";
import { type ApiDeadlines, defaultDeadlines } from "./api-client.ts";
import { type BootTimes, bootMachine, loadMachine } from "./boot.ts";
import type { FirecrackerHost } from "./host.ts";
import { type Machine, type MachineOutputs, openMachine } from "./machine.ts";
import { requireMachineSpec, snapshotCreation } from "./machine-document.ts";
import { pinnedVersion } from "./version.ts";
import { Watchdog, type WatchdogOptions } from "./watchdog.ts";

export interface FirecrackerOptions {
  /** A VMM did not answer three times in a row and was killed, or could not be; `error` is the last failure. */
  readonly onUnresponsive: (vmId: string, error: unknown) => void;
  readonly version?: string;
  readonly deadlines?: ApiDeadlines;
  /** The whole making of a machine, its calls together, ends within this; a VMM that answers each call just in time does not hold it up. */
  readonly startLimitMs?: number;
  readonly watchdog?: Pick<WatchdogOptions, "intervalMs" | "schedule" | "now">;
}

/** The VMM port on Firecracker, and what Firecracker can do beyond it. */
export interface FirecrackerVmm extends VmmPort {
  /**
   * Like `start`, out of the snapshot that the host has put into the jail. The guest stays paused until `resume`, which comes after the
   * caller has made durable that this snapshot is used up. Errors: those of `start`.
   */
  load(start: VmStart): Promise<VmStartReport>;
  /** Errors: NOT_FOUND, VMM_FAILED (it does not run). */
  pause(vmId: string): Promise<void>;
  /** Writes guest memory and machine state into the jail. Errors: NOT_FOUND, WRONG_STATE (it is not paused), VMM_FAILED. */
  createSnapshot(vmId: string): Promise<void>;
  /** Errors: NOT_FOUND, WRONG_STATE (it is not paused), VMM_FAILED. */
  resume(vmId: string): Promise<void>;
  /** What the VMM wrote since this process knows it, also after its end; undefined for a VM that is not known. */
  outputs(vmId: string): MachineOutputs | undefined;
  /** Takes up the VMs that run already: reads their outputs and watches them. For the time after a restart; safe to repeat. */
  attachRunning(): Promise<void>;
  /** Ends every connection and leaves the VMs running. */
  close(): void;
}

interface Watched {
  readonly machine: Machine;
  readonly watchdog: Watchdog;
}

/**
 * 1. No guest code runs before the VMM's own account of its machine equals the one ordered.
 * 2. A start that fails at any point leaves no process: the host kills it, and the VM is as it was.
 * 3. A connection to a VMM belongs to the VM it was made for, or is not used.
 *
 * The identity drive is emptied by the host, which overwrites the file that the VMM has open; the guest reads zeros from then on. PATCH
 * /drives/cfg would add nothing but make the VMM open a path in its jail again.
 */
export function openFirecrackerVmm(host: FirecrackerHost, options: FirecrackerOptions): FirecrackerVmm {
  const { version = pinnedVersion, deadlines = defaultDeadlines, startLimitMs = 20_000 } = options;
  const turns = createTurns();
  const vms = new Map<string, Watched>();

  const forget = (vmId: string) => {
    const known = vms.get(vmId);
    known?.watchdog.stop();
    known?.machine.close();
    vms.delete(vmId);
  };
  const kill = async (vmId: string, watched: Watched, error: unknown): Promise<void> => {
    if (vms.get(vmId) !== watched) return; // removed or started anew meanwhile
    watched.machine.close();
    await stop(host, vmId).catch((cause: unknown) => {
      // The next look at what runs takes it up again, and so does its end.
      vms.delete(vmId);
      options.onUnresponsive(vmId, new AggregateError([error, cause], "an unresponsive VMM could not be killed"));
      throw cause;
    });
    options.onUnresponsive(vmId, error);
  };
  const watch = (vmId: string, machine: Machine): void => {
    const watchdog = new Watchdog({
      ...options.watchdog,
      ping: machine.ping,
      onUnresponsive: (error) => void turns.take(vmId, () => kill(vmId, watched, error)).catch(() => {}),
    });
    const watched = { machine, watchdog };
    vms.set(vmId, watched);
    watchdog.start();
  };
  const make = async (start: VmStart, boot: typeof bootMachine): Promise<VmStartReport> => {
    const { vmId, vcpuCount, memoryMib } = start;
    const spec = requireMachineSpec({ vcpuCount, memoryMib });
    const { stagesMs } = await host.start(start);
    forget(vmId); // of an earlier run that ended
    const machine = openMachine(host, vmId, deadlines);
    let limit: NodeJS.Timeout | undefined;
    try {
      await machine.openOutputs();
      const api = await machine.api(); // the host may make this wait for another VM's boot
      const began = performance.now();
      limit = setTimeout(() => machine.close(), startLimitMs);
      const times = await boot(api, spec, version);
      await host.place(vmId);
      watch(vmId, machine);
      return { stagesMs: addTimes(stagesMs, began, times) };
    } catch (error) {
      machine.close();
      await stopAfter(host, vmId, error);
      throw startFailure(error, machine);
    } finally {
      clearTimeout(limit);
    }
  };
  const apiOf = async (vmId: string) => {
    const machine = vms.get(vmId)?.machine ?? openMachine(host, vmId, deadlines);
    const api = await machine.api();
    if (!vms.has(vmId)) watch(vmId, machine);
    return api;
  };
  const pausedApiOf = async (vmId: string) => {
    const api = await apiOf(vmId);
    if ((await api.getInstance()).state !== "Paused") throw vmmFail("WRONG_STATE", `${vmId} is not paused`);
    return api;
  };

  return {
    describe: () => host.describe(),
    list: () => host.list(),
    prepare: (preparation) => turns.take(preparation.vmId, () => host.prepare(preparation)),
    start: (start) => turns.take(start.vmId, () => make(start, bootMachine)),
    load: (start) => turns.take(start.vmId, () => make(start, loadMachine)),
    inspect: (vmId) => turns.take(vmId, () => host.inspect(vmId)),
    emptyIdentityDrive: (vmId) => turns.take(vmId, () => host.emptyIdentityDrive(vmId)),
    pause: (vmId) => turns.take(vmId, async () => (await apiOf(vmId)).pause()),
    createSnapshot: (vmId) => turns.take(vmId, async () => (await pausedApiOf(vmId)).createSnapshot(snapshotCreation)),
    resume: (vmId) => turns.take(vmId, async () => (await pausedApiOf(vmId)).resume()),
    remove: (vmId) =>
      turns.take(vmId, async () => {
        forget(vmId);
        await host.remove(vmId);
      }),
    outputs: (vmId) => vms.get(vmId)?.machine.outputs,
    async attachRunning() {
      for (const { vmId, state } of await host.list()) {
        if (state !== "running" || vms.has(vmId)) continue;
        await turns.take(vmId, async () => {
          if (!vms.has(vmId)) watch(vmId, openMachine(host, vmId, deadlines));
        });
      }
    },
    close() {
      for (const vmId of [...vms.keys()]) forget(vmId);
    },
  };
}

function addTimes(host: VmStartReport["stagesMs"], began: number, times: BootTimes): VmStartReport["stagesMs"] {
  const { configured, compared, running } = times;
  return {
    prepare: host.prepare,
    jail: host.jail,
    vmm: host.vmm + (configured - began),
    readBack: host.readBack + (compared - configured) + (performance.now() - running),
    resume: host.resume + (running - compared),
  };
}

const stop = (host: FirecrackerHost, vmId: string) => (host.stop === undefined ? host.remove(vmId) : host.stop(vmId));

async function stopAfter(host: FirecrackerHost, vmId: string, failure: unknown): Promise<void> {
  try {
    await stop(host, vmId);
  } catch (cause) {
    const message = `the start failed (${reasonOf(failure) ?? "INTERNAL"}), and what it left could not be stopped`;
    throw vmmFail("UNAVAILABLE", message, { cause: new AggregateError([failure, cause], message) });
  }
}

/** A VMM that is gone or silent has failed, for certain: it was killed. What it said last is the only account of why. */
function startFailure(error: unknown, machine: Machine): unknown {
  const reason = reasonOf(error);
  if (!(error instanceof ServiceError) || (reason !== "UNAVAILABLE" && reason !== "TIMED_OUT")) return error;
  const last = machine.outputs.log.tail(1).join("");
  const said = last === "" ? "" : `; its log ends with: ${last.slice(0, 256)}`;
  return vmmFail("VMM_FAILED", `${error.message}${said}`, { cause: error });
}
