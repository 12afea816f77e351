import { type FirecrackerOptions, openFirecrackerVmm } from "./firecracker/adapter.ts";
import { isFirecrackerHost } from "./firecracker/host.ts";
import { type VmmHost, type VmmPort, vmmFail } from "./port.ts";
import { isQemuHost, openQemuVmm } from "./qemu/adapter.ts";

/** The VMM port of whichever VMM the launcher runs. */
export interface LaunchedVmm extends VmmPort {
  /** Takes up what runs already, where the VMM has to be watched by this process. Safe to repeat. */
  attachRunning(): Promise<void>;
  /** Ends every connection to a VMM; the microVMs go on. */
  close(): void;
}

/**
 * Asks the launcher once what it runs, with the first call that reaches it. QEMU is complete when its launcher has started
 * it, and its adapter saves and loads; Firecracker is made into a machine by its adapter. A launcher that comes back with another VMM needs a new process here; until then no guest boots.
 */
export function openVmmByLauncher(launcher: VmmHost, options: FirecrackerOptions): LaunchedVmm {
  const firecracker = isFirecrackerHost(launcher) ? openFirecrackerVmm(launcher, options) : undefined;
  let chosen: Promise<VmmPort> | undefined;
  const choose = () => {
    chosen ??= chooseAdapter().catch((error: unknown) => {
      chosen = undefined;
      throw error;
    });
    return chosen;
  };
  const chooseAdapter = async (): Promise<VmmPort> => {
    const { vmm } = await launcher.describe();
    if (vmm === "firecracker" && firecracker !== undefined) return firecracker;
    if (vmm === "qemu" && isQemuHost(launcher)) return openQemuVmm(launcher);
    if (vmm !== "firecracker" && isWholePort(launcher)) return launcher;
    throw vmmFail("UNAVAILABLE", `the launcher has no verbs for the ${vmm} it runs`);
  };
  // One promise for all: calls go on in the order in which they came.
  return {
    describe: () => launcher.describe(),
    prepare: async (preparation) => (await choose()).prepare(preparation),
    start: async (start) => (await choose()).start(start),
    save: async (vmId, sink) => (await choose()).save(vmId, sink),
    pause: async (vmId) => (await choose()).pause(vmId),
    readDisk: async (vmId) => (await choose()).readDisk(vmId),
    writeDisk: async (vmId, disk) => (await choose()).writeDisk(vmId, disk),
    replaceDisk: async (vmId) => (await choose()).replaceDisk(vmId),
    unpause: async (vmId) => (await choose()).unpause(vmId),
    stop: async (vmId) => (await choose()).stop(vmId),
    load: async (start, state) => (await choose()).load(start, state),
    resume: async (vmId) => (await choose()).resume(vmId),
    list: async () => (await choose()).list(),
    inspect: async (vmId) => (await choose()).inspect(vmId),
    emptyIdentityDrive: async (vmId) => (await choose()).emptyIdentityDrive(vmId),
    remove: async (vmId) => (await choose()).remove(vmId),
    async attachRunning() {
      if ((await choose()) === firecracker) await firecracker?.attachRunning();
    },
    close: () => firecracker?.close(),
  };
}

function isWholePort(launcher: VmmHost): launcher is VmmPort {
  return "save" in launcher;
}
