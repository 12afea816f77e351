import { verbArguments } from "../launcher/protocol.ts";
import { type VmInspection, type VmmDescription, type VmmPort, type VmPreparation, vmmFail } from "./port.ts";

interface FakeVm extends VmPreparation {
  state: "prepared" | "running" | "exited";
  identityDrive: Uint8Array;
  pid: number;
}

/** A VMM port in memory, with what a test needs to make things happen to its VMs. */
export interface FakeVmm extends VmmPort {
  /** Ends a running VM by itself, as a guest that powers off does. */
  exit(vmId: string): void;
  /** Ends a VM from outside: its disk is kept and its identity drive is gone. */
  stop(vmId: string): void;
  /** The identity drive as the guest would read it now. */
  identityDrive(vmId: string): Uint8Array | undefined;
}

export interface FakeVmmOptions {
  /** By default every image exists. */
  readonly images?: readonly string[];
  readonly slotCount?: number;
  /** Slots without a network namespace. */
  readonly slotsWithoutNetwork?: readonly number[];
  /** What `describe` says instead of its own: by default a host with room for everything. */
  readonly description?: Partial<VmmDescription>;
}

/** Behaves as the conformance suite says; nothing is started. */
export function createFakeVmm(options: FakeVmmOptions = {}): FakeVmm {
  const { images, slotCount = 65_536, slotsWithoutNetwork = [], description = {} } = options;
  const vms = new Map<string, FakeVm>();
  let lastPid = 1000;
  const find = (vmId: string): FakeVm => {
    const vm = vms.get(vmId);
    if (vm === undefined) throw vmmFail("NOT_FOUND", `no VM ${vmId}`);
    return vm;
  };
  const requireVmId = (vmId: string) => requireValid(verbArguments.inspect.safeParse({ vmId }).success);
  return {
    describe: async () => ({
      ...{ vmm: "fake", version: "0", accelerator: "none", productionBoundary: false },
      ...{ reason: "a test", cores: 1024, memoryMib: 1_048_576, overlayCapacityMib: 1_048_576, slotCount },
      memoryLimit: { perGuestMib: 1.5, besideMib: 256 },
      ...description,
    }),
    async prepare(preparation) {
      requireValid(verbArguments.prepare.safeParse(preparation).success && preparation.slot < slotCount);
      const { vmId, slot, image } = preparation;
      if (images?.includes(image) === false) throw vmmFail("IMAGE_MISSING", `no image ${image}`);
      if (vms.has(vmId)) throw vmmFail("ALREADY_EXISTS", `${vmId} exists`);
      if ([...vms.values()].some((vm) => vm.slot === slot)) throw vmmFail("SLOT_IN_USE", `slot ${slot} is taken`);
      vms.set(vmId, { ...preparation, state: "prepared", identityDrive: new Uint8Array(), pid: 0 });
    },
    async start(start) {
      const identityDrive = Buffer.from(start.identityDrive).toString("base64");
      requireValid(verbArguments.start.safeParse({ ...start, identityDrive }).success);
      const vm = find(start.vmId);
      const prepared = vm.slot === start.slot && vm.image === start.image;
      if (!prepared || vm.state === "running") throw vmmFail("WRONG_STATE", "it runs, or was prepared differently");
      if (slotsWithoutNetwork.includes(start.slot))
        throw vmmFail("NETWORK_MISSING", `slot ${start.slot} has no network`);
      lastPid += 1;
      Object.assign(vm, { state: "running", identityDrive: Uint8Array.from(start.identityDrive), pid: lastPid });
      return { stagesMs: { prepare: 0, jail: 0, vmm: 0, readBack: 0, resume: 0 } };
    },
    list: async () => [...vms.values()].map(({ vmId, slot, state }) => ({ vmId, slot, state })),
    async inspect(vmId) {
      requireVmId(vmId);
      const vm = find(vmId);
      if (vm.state !== "running") throw vmmFail("NOT_FOUND", "it does not run");
      return confined(vm);
    },
    async emptyIdentityDrive(vmId) {
      requireVmId(vmId);
      find(vmId).identityDrive.fill(0);
    },
    async remove(vmId) {
      requireVmId(vmId);
      vms.delete(vmId);
    },
    exit(vmId) {
      find(vmId).state = "exited";
    },
    stop(vmId) {
      Object.assign(find(vmId), { state: "prepared", identityDrive: new Uint8Array() });
    },
    identityDrive: (vmId) => vms.get(vmId)?.identityDrive,
  };
}

function confined({ pid, slot }: FakeVm): VmInspection {
  const kinds = ["mnt", "pid", "net", "ipc", "uts", "cgroup"];
  return {
    pid,
    uid: 900_000_000 + slot,
    namespaces: Object.fromEntries(kinds.map((kind, index) => [kind, String(pid * 10 + index)])),
    seccompModes: [2],
    capabilities: { effective: "0000000000000000", bounding: "0000000000000000" },
    noNewPrivileges: true,
    cgroup: { "pids.max": "128" },
  };
}

function requireValid(valid: boolean): void {
  if (!valid) throw vmmFail("INVALID_REQUEST", "the request does not match the protocol");
}
