import { randomUUID } from "node:crypto";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { decryptSectors, diskSectorBytes, encryptSectors } from "../launcher/disk-cipher.ts";
import { verbArguments } from "../launcher/protocol.ts";
import {
  type VmInspection,
  type VmmDescription,
  type VmmPort,
  type VmPreparation,
  type VmStart,
  type VmStartReport,
  vmmFail,
} from "./port.ts";

interface FakeVm extends VmPreparation {
  state: "prepared" | "running" | "exited";
  /** What its VMM does: runs the guest, holds it for `unpause` after a save, or for `resume` after a load. */
  guest: "runs" | "saved" | "loaded";
  /** Stands for the guest's memory: new with each boot. */
  memory: string;
  generation: number;
  identityDrive: Uint8Array;
  /** Whether the drive of the last boot had the key of its disk. */
  opensDisk: boolean;
  pid: number;
  disk: FakeDisk;
  nextDisk: FakeDisk | undefined;
}

/** Each MiB that is not all zeros, by where it begins. */
type FakeDisk = Map<number, Buffer>;

const mib = 1024 * 1024;
const zeros = Buffer.alloc(mib);

const statePattern = /^fake-state:([^\n]{1,4096})\n$/;

/** A VMM port in memory, with what a test needs to make things happen to its VMs. */
export interface FakeVmm extends VmmPort {
  /** Ends a running VM by itself, as a guest that powers off does. */
  exit(vmId: string): void;
  /** What a running, paused or loaded guest has in its memory, at most 4,096 characters in one line; new with each boot. */
  memory(vmId: string): string;
  writeMemory(vmId: string, memory: string): void;
  /** What a guest has in the first sector of its disk, in ASCII, under the key that the disk was prepared with. */
  disk(vmId: string): string;
  writeDiskText(vmId: string, text: string): void;
  /** Whether the last boot was given that key. */
  opensDisk(vmId: string): boolean;
  /** Whether the guest's CPUs run: not while it is saved or loaded. */
  guestRuns(vmId: string): boolean;
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
  /** What `start` says instead of having booted. */
  readonly startReport?: Partial<VmStartReport>;
}

/** Behaves as the conformance suite says; nothing is started. */
export function createFakeVmm(options: FakeVmmOptions = {}): FakeVmm {
  const { images, slotCount = 65_536, slotsWithoutNetwork = [], description = {}, startReport = {} } = options;
  const vms = new Map<string, FakeVm>();
  let lastPid = 1000;
  const find = (vmId: string): FakeVm => {
    const vm = vms.get(vmId);
    if (vm === undefined) throw vmmFail("NOT_FOUND", `no VM ${vmId}`);
    return vm;
  };
  const requireVmId = (vmId: string) => requireValid(verbArguments.inspect.safeParse({ vmId }).success);
  const running = (vmId: string): FakeVm => {
    requireVmId(vmId);
    const vm = find(vmId);
    if (vm.state !== "running") throw vmmFail("NOT_FOUND", "it does not run");
    return vm;
  };
  const stopped = (vmId: string): FakeVm => {
    const vm = find(vmId);
    if (vm.state === "running") throw vmmFail("WRONG_STATE", "it runs");
    return vm;
  };
  const launch = (start: VmStart, made: Pick<FakeVm, "guest" | "memory">): FakeVm => {
    const { generation } = start;
    const identityDrive = Buffer.from(start.identityDrive).toString("base64");
    requireValid(verbArguments.start.safeParse({ ...start, identityDrive }).success);
    const vm = find(start.vmId);
    const prepared = vm.slot === start.slot && vm.image === start.image;
    if (!prepared || vm.state === "running") throw vmmFail("WRONG_STATE", "it runs, or was prepared differently");
    if (generation <= vm.generation) throw vmmFail("STALE_GENERATION", `generation ${vm.generation} was started`);
    if (slotsWithoutNetwork.includes(start.slot)) throw vmmFail("NETWORK_MISSING", `slot ${start.slot} has no network`);
    lastPid += 1;
    const drive = Uint8Array.from(start.identityDrive);
    return Object.assign(vm, made, { state: "running" as const, generation, identityDrive: drive, pid: lastPid });
  };
  return {
    describe: async () => ({
      ...{ vmm: "fake", version: "0", accelerator: "none", productionBoundary: false },
      ...{ reason: "a test", cores: 1024, memoryMib: 1_048_576, overlayCapacityMib: 1_048_576, slotCount },
      memoryLimit: { perGuestMib: 1.5, besideMib: 256 },
      templates: { offered: false, count: 0 },
      ...description,
    }),
    async prepare(preparation) {
      const { vmId, slot, image } = preparation;
      const diskKey = Buffer.from(preparation.diskKey).toString("base64");
      requireValid(verbArguments.prepare.safeParse({ ...preparation, diskKey }).success && slot < slotCount);
      if (images?.includes(image) === false) throw vmmFail("IMAGE_MISSING", `no image ${image}`);
      if (vms.has(vmId)) throw vmmFail("ALREADY_EXISTS", `${vmId} exists`);
      if ([...vms.values()].some((vm) => vm.slot === slot)) throw vmmFail("SLOT_IN_USE", `slot ${slot} is taken`);
      const fresh = { guest: "runs", memory: "", generation: 0, identityDrive: new Uint8Array(), pid: 0 } as const;
      const unused = { state: "prepared", opensDisk: false, disk: new Map(), nextDisk: undefined } as const;
      vms.set(vmId, { ...preparation, ...fresh, ...unused, diskKey: Uint8Array.from(preparation.diskKey) });
    },
    async start(start) {
      const vm = launch(start, { guest: "runs", memory: randomUUID() });
      vm.opensDisk = Buffer.from(vm.identityDrive).includes(Buffer.from(vm.diskKey).toString("hex"));
      return { ...booted, ...startReport };
    },
    async save(vmId, sink) {
      let vm: FakeVm | undefined;
      try {
        const found = running(vmId);
        if (found.guest !== "runs") throw vmmFail("WRONG_STATE", "it is paused");
        vm = found;
        vm.guest = "saved";
        const state = Buffer.from(`fake-state:${vm.memory}\n`);
        await pipeline([state], sink);
        return { bytes: state.length };
      } catch (error) {
        sink.destroy();
        if (vm !== undefined) vm.guest = "runs";
        throw error;
      }
    },
    async pause(vmId) {
      const vm = running(vmId);
      if (vm.guest === "loaded") throw vmmFail("WRONG_STATE", "it was loaded: it waits for resume");
      vm.guest = "saved";
    },
    async readDisk(vmId) {
      requireVmId(vmId);
      const { disk, overlayMib } = find(vmId);
      return Readable.from(bytesOf(new Map(disk), overlayMib * mib));
    },
    async writeDisk(vmId, disk) {
      requireVmId(vmId);
      stopped(vmId).nextDisk = undefined;
      const { disk: taken, bytes } = await takeDisk(disk);
      const vm = stopped(vmId);
      if (bytes !== vm.overlayMib * mib) throw vmmFail("UNAVAILABLE", "the disk is not as long as the VM's own");
      vm.nextDisk = taken;
    },
    async replaceDisk(vmId) {
      requireVmId(vmId);
      const vm = stopped(vmId);
      vm.disk = vm.nextDisk ?? vm.disk;
      vm.nextDisk = undefined;
    },
    async unpause(vmId) {
      const vm = running(vmId);
      if (vm.guest === "loaded") throw vmmFail("WRONG_STATE", "it was loaded: it waits for resume");
      vm.guest = "runs";
    },
    async stop(vmId) {
      requireVmId(vmId);
      const vm = find(vmId);
      if (vm.state === "running") vm.state = "exited";
      Object.assign(vm, { identityDrive: new Uint8Array(), nextDisk: undefined });
    },
    async load(start, state) {
      let vm: FakeVm | undefined;
      try {
        vm = launch(start, { guest: "loaded", memory: "" });
        const memory = statePattern.exec(await readText(state))?.[1];
        if (memory === undefined) throw vmmFail("VMM_FAILED", "the state is short, long or corrupt");
        vm.memory = memory;
      } catch (error) {
        state.destroy();
        if (vm !== undefined) Object.assign(vm, { state: "exited", identityDrive: new Uint8Array() });
        throw error;
      }
      return { ...instantly, origin: "state" };
    },
    async resume(vmId) {
      const vm = running(vmId);
      if (vm.guest !== "loaded") throw vmmFail("WRONG_STATE", "it was not loaded");
      vm.guest = "runs";
    },
    list: async () => [...vms.values()].map(({ vmId, slot, state }) => ({ vmId, slot, state })),
    async inspect(vmId) {
      return confined(running(vmId));
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
    memory: (vmId) => running(vmId).memory,
    writeMemory(vmId, memory) {
      running(vmId).memory = memory;
    },
    disk(vmId) {
      const { disk, diskKey } = find(vmId);
      const [text = ""] = decryptSectors(diskKey, 0, (disk.get(0) ?? zeros).subarray(0, diskSectorBytes))
        .toString()
        .split("\0", 1);
      return text;
    },
    writeDiskText(vmId, text) {
      const vm = find(vmId);
      const sector = Buffer.concat([Buffer.from(text), zeros.subarray(text.length, diskSectorBytes)]);
      vm.disk = new Map([[0, Buffer.concat([encryptSectors(vm.diskKey, 0, sector), zeros.subarray(diskSectorBytes)])]]);
    },
    opensDisk: (vmId) => find(vmId).opensDisk,
    guestRuns: (vmId) => running(vmId).guest === "runs",
    identityDrive: (vmId) => vms.get(vmId)?.identityDrive,
  };
}

const instantly = { stagesMs: { prepare: 0, jail: 0, vmm: 0, readBack: 0, resume: 0 }, templateMs: 0 };
const booted: VmStartReport = { ...instantly, origin: "kernel" };

function* bytesOf(disk: FakeDisk, bytes: number): Generator<Buffer> {
  for (let at = 0; at < bytes; at += mib) yield Buffer.from(disk.get(at) ?? zeros); // whoever reads it may give it back
}

async function takeDisk(source: AsyncIterable<Uint8Array>): Promise<{ disk: FakeDisk; bytes: number }> {
  const disk: FakeDisk = new Map();
  let bytes = 0;
  for await (const piece of source) {
    for (let taken = 0; taken < piece.length; ) {
      const [at, within] = [bytes - (bytes % mib), bytes % mib];
      const part = piece.subarray(taken, taken + mib - within);
      if (!zeros.subarray(0, part.length).equals(part)) {
        const block = disk.get(at) ?? Buffer.alloc(mib);
        block.set(part, within);
        disk.set(at, block);
      }
      taken += part.length;
      bytes += part.length;
    }
  }
  return { disk, bytes };
}

/** A state of this fake is one short line; what is longer is none. */
async function readText(state: Readable): Promise<string> {
  let text = "";
  for await (const chunk of state) {
    text += String(chunk);
    if (text.length > 8_192) break;
  }
  return text;
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
