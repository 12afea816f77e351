import { reasonOf, ServiceError } from "@lobsterd/chassis/errors.ts";
import { createTurns } from "../../lifecycle/turns.ts";
import { type VmmPort, type VmStart, type VmStartReport, vmmFail } from "../port.ts";
import { type ApiDeadlines, defaultDeadlines, type FirecrackerApi } from "./api-client.ts";
import { type BootTimes, bootMachine, loadMachine } from "./boot.ts";
import type { FirecrackerHost } from "./host.ts";
import type { Machine, MachineOutputs } from "./machine.ts";
import { type MachineSpec, requireMachineSpec, snapshotCreation } from "./machine-document.ts";
import { pinnedVersion } from "./version.ts";
import { openWatchedMachines, type WatchedMachines, type WatchedMachinesOptions } from "./watched-machines.ts";

export interface FirecrackerOptions extends Pick<WatchedMachinesOptions, "onUnresponsive" | "onEnded" | "watchdog"> {
  readonly version?: string;
  readonly deadlines?: ApiDeadlines;
  /** The whole making of a machine, its calls together, ends within this; a VMM that answers each call just in time does not hold it up. */
  readonly startLimitMs?: number;
}

/** The VMM port on Firecracker, and what Firecracker can do beyond it. */
export interface FirecrackerVmm extends VmmPort {
  /**
   * Like `start`, out of the snapshot that the host has put into the jail. The guest stays paused until `resume`, which comes after the
   * caller has made durable that this snapshot is used up. Errors: those of `start`.
   */
  loadSnapshot(start: VmStart): Promise<VmStartReport>;
  /** Writes guest memory and machine state into the jail. Errors: NOT_FOUND, WRONG_STATE (it is not paused), VMM_FAILED. */
  createSnapshot(vmId: string): Promise<void>;
  /** What the VMM wrote since this process knows it, also after its end; undefined for a VM that is not known. */
  outputs(vmId: string): MachineOutputs | undefined;
  /** Takes up the VMs that run already: reads their outputs and watches them. For now and then; safe to repeat. */
  attachRunning(): Promise<void>;
  /** Ends every connection and leaves the VMs running. */
  close(): void;
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
  const { take } = createTurns();
  const machines = openWatchedMachines(host, { deadlines: defaultDeadlines, ...options, inTurn: take });
  const make = (start: VmStart, boot: Boot) =>
    take(start.vmId, () => makeMachine(host, machines, start, boot, options));
  /** The API of a VM that runs, whoever started it. */
  const apiOf = async (vmId: string) => {
    const machine = machines.find(vmId) ?? machines.open(vmId);
    const api = await machine.api();
    if (machines.find(vmId) === undefined) machines.watch(vmId, machine);
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
    prepare: (preparation) => take(preparation.vmId, () => host.prepare(preparation)),
    start: (start) => make(start, bootMachine),
    loadSnapshot: (start) => make(start, loadMachine),
    load: notOffered,
    save: notOffered,
    readDisk: (vmId) => take(vmId, () => host.readDisk(vmId)),
    writeDisk: (vmId, disk) => host.writeDisk(vmId, disk),
    replaceDisk: (vmId) => take(vmId, () => host.replaceDisk(vmId)),
    unpause: (vmId) =>
      take(vmId, async () => {
        const api = await apiOf(vmId);
        if ((await api.getInstance()).state === "Paused") await api.resume();
      }),
    stop: (vmId) =>
      take(vmId, async () => {
        machines.forget(vmId);
        await host.stop(vmId);
      }),
    inspect: (vmId) => take(vmId, () => host.inspect(vmId)),
    emptyIdentityDrive: (vmId) => take(vmId, () => host.emptyIdentityDrive(vmId)),
    pause: (vmId) => take(vmId, async () => (await apiOf(vmId)).pause()),
    createSnapshot: (vmId) => take(vmId, async () => (await pausedApiOf(vmId)).createSnapshot(snapshotCreation)),
    resume: (vmId) => take(vmId, async () => (await pausedApiOf(vmId)).resume()),
    remove: (vmId) =>
      take(vmId, async () => {
        machines.forget(vmId);
        await host.remove(vmId);
      }),
    outputs: (vmId) => machines.find(vmId)?.outputs,
    attachRunning: () => machines.matchHost(),
    close: () => machines.forgetAll(),
  };
}

type Boot = (api: FirecrackerApi, spec: MachineSpec, version: string) => Promise<BootTimes>;

async function makeMachine(
  host: FirecrackerHost,
  machines: WatchedMachines,
  start: VmStart,
  boot: Boot,
  { version = pinnedVersion, startLimitMs = 20_000 }: FirecrackerOptions,
): Promise<VmStartReport> {
  const { vmId, vcpuCount, memoryMib } = start;
  const spec = requireMachineSpec({ vcpuCount, memoryMib });
  const { stagesMs, ...report } = await host.start(start);
  machines.forget(vmId); // of an earlier run that ended
  const machine = machines.open(vmId);
  let limit: NodeJS.Timeout | undefined;
  try {
    await machine.openOutputs();
    const api = await machine.api(); // the host may make this wait for another VM's boot
    const began = performance.now();
    limit = setTimeout(() => machine.close(), startLimitMs);
    const times = await boot(api, spec, version);
    await host.place(vmId);
    machines.watch(vmId, machine);
    return { stagesMs: addTimes(stagesMs, began, times), ...report };
  } catch (error) {
    machine.close();
    await killAfter(host, vmId, error);
    throw startFailure(error, machine);
  } finally {
    clearTimeout(limit);
  }
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

/** (2) */
async function killAfter(host: FirecrackerHost, vmId: string, failure: unknown): Promise<void> {
  try {
    await host.stop(vmId);
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

/** Its two files would have to come out of the jail and into it; nothing reads or writes them there yet. */
const notOffered = async (): Promise<never> => {
  throw vmmFail("WRONG_STATE", "saved states of Firecracker are not offered yet");
};
