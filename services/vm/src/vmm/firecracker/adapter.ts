import { reasonOf, ServiceError } from "@lobsterd/chassis/errors.ts";
import { createTurns } from "../../lifecycle/turns.ts";
import { type VmmPort, type VmStart, type VmStartReport, vmmFail } from "../port.ts";
import { type ApiDeadlines, defaultDeadlines, type FirecrackerApi } from "./api-client.ts";
import { type BootTimes, bootMachine, loadMachine } from "./boot.ts";
import type { FirecrackerHost } from "./host.ts";
import type { Machine, MachineOutputs } from "./machine.ts";
import { type MachineSpec, requireMachineSpec } from "./machine-document.ts";
import { letGoOn, receiveFiles, saveMachine } from "./saved-machine.ts";
import { pinnedVersion } from "./version.ts";
import { openWatchedMachines, type WatchedMachines, type WatchedMachinesOptions } from "./watched-machines.ts";

export interface FirecrackerOptions extends Pick<WatchedMachinesOptions, "onUnresponsive" | "onEnded" | "watchdog"> {
  readonly version?: string;
  readonly deadlines?: ApiDeadlines;
  /** The whole making of a machine, its calls together, ends within this; a VMM that answers each call just in time does not hold it up. */
  readonly startLimitMs?: number;
  /** A save or load of which no byte passes for this long is given up; a minute by default. */
  readonly stallMs?: number;
}

/** The VMM port on Firecracker, and what Firecracker can do beyond it. */
export interface FirecrackerVmm extends VmmPort {
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
 * 4. A guest whose state is complete never runs again here; one that was loaded has run no instruction before `resume`. Firecracker says of both that
 *    they are paused: which one it is, is known as long as this process lives.
 *
 * The identity drive is emptied by the host, which overwrites the file that the VMM has open; the guest reads zeros from then on. PATCH
 * /drives/cfg would add nothing but make the VMM open a path in its jail again.
 */
export function openFirecrackerVmm(host: FirecrackerHost, options: FirecrackerOptions): FirecrackerVmm {
  const { take } = createTurns();
  const machines = openWatchedMachines(host, { deadlines: defaultDeadlines, ...options, inTurn: take });
  /** Loaded, and not resumed. */
  const loaded = new Set<string>();
  /** The API of a VM that runs, whoever started it. */
  const apiOf = async (vmId: string) => {
    const machine = machines.find(vmId) ?? machines.open(vmId);
    const api = await machine.api();
    if (machines.find(vmId) === undefined) machines.watch(vmId, machine);
    return api;
  };
  return {
    describe: () => host.describe(),
    list: () => host.list(),
    prepare: (preparation) => take(preparation.vmId, () => host.prepare(preparation)),
    start: (start) =>
      take(start.vmId, async () => {
        const report = await makeMachine(host, machines, start, { begin: host.start, boot: bootMachine }, options);
        loaded.delete(start.vmId); // of an earlier run that ended
        return report;
      }),
    load: (start, state) =>
      take(start.vmId, async () => {
        const fill = () => receiveFiles(host, start, state, options);
        const making = { begin: host.startWaiting, fill, boot: loadMachine };
        const report = await makeMachine(host, machines, start, making, options);
        loaded.add(start.vmId);
        return report;
      }).finally(() => state.destroy()),
    save: (vmId, sink) =>
      take(vmId, () => saveMachine(host, sink, { vmId, api: () => apiOf(vmId), stallMs: options.stallMs })).finally(
        () => sink.writableFinished || sink.destroy(),
      ),
    readDisk: (vmId) => take(vmId, () => host.readDisk(vmId)),
    writeDisk: (vmId, disk) => host.writeDisk(vmId, disk),
    replaceDisk: (vmId) => take(vmId, () => host.replaceDisk(vmId)),
    unpause: (vmId) =>
      take(vmId, async () => {
        const api = await apiOf(vmId);
        const { state } = await api.getInstance();
        if (state === "Paused" && loaded.has(vmId)) throw vmmFail("WRONG_STATE", "it was loaded: it waits for resume");
        await letGoOn(api);
        await host.clearRoom(vmId);
      }),
    stop: (vmId) =>
      take(vmId, async () => {
        machines.forget(vmId);
        loaded.delete(vmId);
        await host.stop(vmId);
      }),
    inspect: (vmId) => take(vmId, () => host.inspect(vmId)),
    emptyIdentityDrive: (vmId) => take(vmId, () => host.emptyIdentityDrive(vmId)),
    pause: (vmId) => take(vmId, async () => (await apiOf(vmId)).pause()),
    resume: (vmId) =>
      take(vmId, async () => {
        const api = await apiOf(vmId);
        const { state } = await api.getInstance();
        if (state !== "Paused" || !loaded.has(vmId)) throw vmmFail("WRONG_STATE", "it was not loaded, or runs");
        await api.resume();
        loaded.delete(vmId);
      }),
    remove: (vmId) =>
      take(vmId, async () => {
        machines.forget(vmId);
        loaded.delete(vmId);
        await host.remove(vmId);
      }),
    outputs: (vmId) => machines.find(vmId)?.outputs,
    attachRunning: () => machines.matchHost(),
    close: () => machines.forgetAll(),
  };
}

/** How a machine comes to be: booted, or out of files that come first. */
interface Making {
  begin(start: VmStart): Promise<VmStartReport>;
  fill?(): Promise<void>;
  boot(api: FirecrackerApi, spec: MachineSpec, version: string): Promise<BootTimes>;
}

async function makeMachine(
  host: FirecrackerHost,
  machines: WatchedMachines,
  start: VmStart,
  making: Making,
  { version = pinnedVersion, startLimitMs = 20_000 }: FirecrackerOptions,
): Promise<VmStartReport> {
  const { vmId, vcpuCount, memoryMib } = start;
  const spec = requireMachineSpec({ vcpuCount, memoryMib });
  const { stagesMs, ...report } = await making.begin(start);
  const begun = performance.now();
  let filledMs: number | undefined;
  machines.forget(vmId); // of an earlier run that ended
  const machine = machines.open(vmId);
  let limit: NodeJS.Timeout | undefined;
  try {
    await making.fill?.();
    filledMs = performance.now() - begun;
    await machine.openOutputs();
    const api = await machine.api(); // the host may make this wait for another VM's boot
    const began = performance.now();
    limit = setTimeout(() => machine.close(), startLimitMs);
    const times = await making.boot(api, spec, version);
    await host.place(vmId);
    machines.watch(vmId, machine);
    return { stagesMs: addTimes(stagesMs, began, times, filledMs), ...report };
  } catch (error) {
    machine.close();
    await killAfter(host, vmId, error);
    throw filledMs === undefined ? error : startFailure(error, machine);
  } finally {
    clearTimeout(limit);
  }
}

function addTimes(
  host: VmStartReport["stagesMs"],
  began: number,
  times: BootTimes,
  filledMs: number,
): VmStartReport["stagesMs"] {
  const { configured, compared, running } = times;
  return {
    prepare: host.prepare,
    jail: host.jail,
    vmm: host.vmm + (configured - began),
    readBack: host.readBack + (compared - configured) + (performance.now() - running),
    resume: host.resume + filledMs + (running - compared),
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
  if (!(error instanceof ServiceError) || !["UNAVAILABLE", "TIMED_OUT", "NOT_FOUND"].includes(error.reason))
    return error;
  const last = machine.outputs.log.tail(1).join("");
  const said = last === "" ? "" : `; its log ends with: ${last.slice(0, 256)}`;
  return vmmFail("VMM_FAILED", `${error.message}${said}`, { cause: error });
}
