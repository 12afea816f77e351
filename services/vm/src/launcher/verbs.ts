import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  openSync,
  statfsSync,
  statSync,
  unlinkSync,
} from "node:fs";
import { availableParallelism, totalmem } from "node:os";
import { bootVmm, type StoppedVmm } from "./boot.ts";
import type { CgroupLimits, VmCgroups } from "./cgroup.ts";
import { type LauncherConfig, vmPaths } from "./config.ts";
import { createJail, jailFaults, removeTree, requireRootOnly, writeIdentityDrive, zeroIdentityDrive } from "./jail.ts";
import { namespacesOf, type ProcessFacts, readProcess, run } from "./processes.ts";
import { type Arguments, LauncherError, type Result, type Verbs } from "./protocol.ts";
import { qemuCommand } from "./qemu.ts";
import { readRecord, type VmRecord, vmIdsIn, writeRecord } from "./records.ts";

const mib = 1024 * 1024;
const nsfsMagic = 0x6e736673;
const imageFiles = ["vmlinux", "initrd.cpio", "rootfs.erofs"];

/** What the verbs work with, made once at start-up. */
export interface LauncherHost {
  readonly config: LauncherConfig;
  readonly cgroups: VmCgroups;
  readonly vmmTree: string;
  readonly vmmVersion: string;
  readonly tscKhz: number;
  readonly jailScript: string;
}

/** The launcher's verbs. Two calls for one VM run one after the other. */
export function launcherVerbs(host: LauncherHost): Verbs {
  const turns = new Map<string, Promise<unknown>>();
  const inTurn = <T>(vmId: string, work: () => Promise<T>): Promise<T> => {
    const turn = (turns.get(vmId) ?? Promise.resolve()).then(work, work);
    const settled = turn.then(
      () => {},
      () => {},
    );
    turns.set(vmId, settled);
    void settled.then(() => turns.get(vmId) === settled && turns.delete(vmId));
    return turn;
  };
  return {
    describe: async () => ({
      name: "qemu",
      version: host.vmmVersion,
      accelerator: "tcg",
      productionBoundary: false,
      cores: availableParallelism(),
      memoryMib: Math.floor(totalmem() / mib),
    }),
    list: async () => ({ vms: listVms(host) }),
    prepare: (request) => inTurn(request.vmId, () => prepare(host, request)),
    start: (request) => inTurn(request.vmId, () => start(host, request)),
    connect: async ({ vmId }) => {
      requireRecord(host, vmId);
      throw new LauncherError("WRONG_STATE", "QEMU has no channels");
    },
    place: ({ vmId }) => inTurn(vmId, () => place(host, vmId)),
    inspect: ({ vmId }) => inTurn(vmId, () => inspect(host, vmId)),
    emptyIdentityDrive: ({ vmId }) => inTurn(vmId, () => emptyIdentityDrive(host, vmId)),
    remove: ({ vmId }) => inTurn(vmId, () => remove(host, vmId)),
  };
}

async function prepare(host: LauncherHost, request: Arguments<"prepare">): Promise<Result<"prepare">> {
  const { config } = host;
  const { vmId, slot, image, overlayMib } = request;
  const paths = vmPaths(config, vmId);
  if (slot >= config.slotCount) throw new LauncherError("INVALID_REQUEST", `slot ${slot} does not exist`);
  requireImage(config, image);
  for (const directory of [`${config.stateDir}/vms`, `${config.runDir}/jails`]) requireRootOnly(directory);
  for (const path of [paths.disk, paths.jail]) {
    if (lstatSync(path, { throwIfNoEntry: false })) throw new LauncherError("ALREADY_EXISTS", `${path} exists`);
  }
  if (host.cgroups.members(vmId).size > 0) throw new LauncherError("ALREADY_EXISTS", "the cgroup exists");
  // Up to the written record nothing waits, so two requests cannot both take a slot, and with it a uid.
  const holder = listVms(host).find((vm) => vm.slot === slot);
  if (holder !== undefined) throw new LauncherError("SLOT_IN_USE", `slot ${slot} belongs to ${holder.vmId}`);
  try {
    mkdirSync(paths.disk);
    chmodSync(paths.disk, 0o711);
    writeRecord(paths.record, { version: 1, ...request });
    createJail(paths.jail);
    await createOverlay(paths.overlay, overlayMib, config.uidBase + slot);
  } catch (error) {
    await remove(host, vmId);
    throw error;
  }
  return {};
}

async function start(host: LauncherHost, request: Arguments<"start">): Promise<Result<"start">> {
  const { config, cgroups } = host;
  const { vmId, slot, image } = request;
  const began = performance.now();
  const record = requireRecord(host, vmId);
  if (record.slot !== slot || record.image !== image) {
    throw new LauncherError("WRONG_STATE", `prepared for slot ${record.slot} and image ${record.image}`);
  }
  if (isRunning(host, vmId)) throw new LauncherError("WRONG_STATE", "it runs already");
  const network = requireNetwork(config, slot);
  requireImage(config, image);
  const paths = vmPaths(config, vmId);
  const limits: CgroupLimits = { ...request, translationCacheMib: config.translationCacheMib };
  await cgroups.remove(vmId); // of an earlier run that ended
  if (!existsSync(paths.jail)) createJail(paths.jail); // the host was restarted: jails are on a tmpfs
  let vmm: StoppedVmm | undefined;
  try {
    writeIdentityDrive(paths.identity, Buffer.from(request.identityDrive, "base64"), config.uidBase + slot);
    cgroups.create(vmId, limits);
    const prepared = performance.now();
    const jail = {
      jail: paths.jail,
      network,
      tree: host.vmmTree,
      image: `${config.imagesDir}/${image}`,
      overlay: paths.overlay,
      uid: config.uidBase + slot,
      fileSizeBytes: (record.overlayMib + 1) * mib,
      cgroupFiles: cgroups.joinFiles(vmId),
    };
    const command = qemuCommand({ ...request, translationCacheMib: config.translationCacheMib, tscKhz: host.tscKhz });
    vmm = await bootVmm(host.jailScript, jail, command, (pid) => requireMember(cgroups, vmId, pid));
    verifyJail(host, record, limits);
    const verified = performance.now();
    await vmm.resume();
    return {
      stagesMs: {
        prepare: prepared - began,
        jail: vmm.jailBuiltMs - prepared,
        vmm: vmm.answeredMs - vmm.jailBuiltMs,
        readBack: verified - vmm.answeredMs,
        resume: performance.now() - verified,
      },
    };
  } catch (error) {
    await cgroups.kill(vmId);
    await cgroups.remove(vmId);
    if (existsSync(paths.identity)) unlinkSync(paths.identity);
    throw error;
  } finally {
    vmm?.release();
  }
}

function requireMember(cgroups: VmCgroups, vmId: string, pid: number): void {
  const members = cgroups.members(vmId);
  const outside = cgroups.hierarchies().filter((hierarchy) => members.get(hierarchy)?.includes(pid) !== true);
  if (outside.length > 0) throw new Error(`the jail script is outside the VM's cgroup ${outside.join(", ")}`);
}

/** Reads the process back and throws JAIL_MISMATCH when it differs in anything from what the jail describes. No guest code has run. */
function verifyJail(host: LauncherHost, record: VmRecord, limits: CgroupLimits): void {
  const { config, cgroups } = host;
  const members = cgroups.members(record.vmId);
  const pid = [...members.values()].flat()[0];
  if (pid === undefined) throw new LauncherError("JAIL_MISMATCH", "no process is in the VM's cgroup");
  const jail = statSync(vmPaths(config, record.vmId).jail);
  const faults = jailFaults(readAs(pid, config.uidBase + record.slot), {
    uid: config.uidBase + record.slot,
    root: `${jail.dev}:${jail.ino}`,
    network: String(statSync(networkPath(config, record.slot)).ino),
    launcher: namespacesOf("/proc/self"),
    fileSizeBytes: (record.overlayMib + 1) * mib,
    members,
    hierarchies: cgroups.hierarchies(),
    cgroupFaults: cgroups.faults(record.vmId, limits),
  });
  if (faults.length > 0) throw new LauncherError("JAIL_MISMATCH", faults.join("; ").slice(0, 2048));
}

/** A process that its own uid may not read has other ids, more capabilities, or is not there any more. */
function readAs(pid: number, uid: number): ProcessFacts {
  try {
    return readProcess(pid, uid);
  } catch (error) {
    throw new LauncherError("JAIL_MISMATCH", `uid ${uid} cannot read process ${pid}: ${(error as Error).message}`);
  }
}

async function inspect(host: LauncherHost, vmId: string): Promise<Result<"inspect">> {
  const record = requireRecord(host, vmId);
  const pid = [...host.cgroups.members(vmId).values()].flat()[0];
  if (pid === undefined) throw new LauncherError("NOT_FOUND", "it does not run");
  const facts = readAs(pid, host.config.uidBase + record.slot);
  return {
    pid,
    uid: facts.uids[0] ?? -1,
    namespaces: facts.namespaces,
    seccompModes: [...facts.seccompModes],
    capabilities: { effective: facts.capabilities.effective, bounding: facts.capabilities.bounding },
    noNewPrivileges: facts.noNewPrivileges,
    cgroup: host.cgroups.values(vmId),
  };
}

/** QEMU's machine has no timer of the kernel's (`pit=off`): there is no thread to place. */
async function place(host: LauncherHost, vmId: string): Promise<Result<"place">> {
  await inspect(host, vmId);
  return { kvmPit: "none" };
}

async function emptyIdentityDrive(host: LauncherHost, vmId: string): Promise<Result<"emptyIdentityDrive">> {
  const { slot } = requireRecord(host, vmId);
  const { identity } = vmPaths(host.config, vmId);
  if (lstatSync(identity, { throwIfNoEntry: false })) zeroIdentityDrive(identity, host.config.uidBase + slot);
  return {};
}

/** The record goes last (`removeTree` goes by name): as long as anything of the VM is left, its slot and uid are taken. */
async function remove({ config, cgroups }: LauncherHost, vmId: string): Promise<Result<"remove">> {
  const paths = vmPaths(config, vmId);
  await cgroups.kill(vmId);
  await cgroups.remove(vmId);
  removeTree(paths.jail);
  removeTree(paths.disk);
  return {};
}

function listVms(host: LauncherHost): Result<"list">["vms"] {
  const { config, cgroups } = host;
  const jails = new Set(vmIdsIn(`${config.runDir}/jails`));
  const groups = new Set(cgroups.list());
  const names = new Set([...vmIdsIn(`${config.stateDir}/vms`), ...jails, ...groups]);
  return [...names].sort().map((vmId) => {
    const slot = readRecord(vmPaths(config, vmId).record)?.slot;
    const state = isRunning(host, vmId) ? "running" : jails.has(vmId) && !groups.has(vmId) ? "prepared" : "exited";
    return { vmId, state, ...(slot === undefined ? {} : { slot }) };
  });
}

function isRunning({ cgroups }: LauncherHost, vmId: string): boolean {
  return [...cgroups.members(vmId).values()].some((pids) => pids.length > 0);
}

function requireRecord({ config }: LauncherHost, vmId: string): VmRecord {
  const record = readRecord(vmPaths(config, vmId).record);
  if (record === undefined) throw new LauncherError("NOT_FOUND", `no VM ${vmId}`);
  return record;
}

function requireImage(config: LauncherConfig, image: string): void {
  for (const name of imageFiles) {
    const file = `${config.imagesDir}/${image}/${name}`;
    if (!lstatSync(file, { throwIfNoEntry: false })?.isFile())
      throw new LauncherError("IMAGE_MISSING", `no file ${file}`);
    requireRootOnly(file);
  }
}

function networkPath(config: LauncherConfig, slot: number): string {
  return `${config.runDir}/netns/slot-${slot}`;
}

/** The path of the slot's namespace, which is one: `nsenter` would also take another kind, or the launcher's own. */
function requireNetwork(config: LauncherConfig, slot: number): string {
  const path = networkPath(config, slot);
  const exists = lstatSync(path, { throwIfNoEntry: false })?.isFile() === true;
  if (!exists || statfsSync(path).type !== nsfsMagic)
    throw new LauncherError("NETWORK_MISSING", `no namespace at ${path}`);
  return path;
}

/** A sparse ext4 file system with a journal; the guest's kernel fills in its tables lazily, so this takes no time. */
async function createOverlay(file: string, sizeMib: number, uid: number): Promise<void> {
  const descriptor = openSync(file, "wx", 0o600);
  try {
    ftruncateSync(descriptor, sizeMib * mib);
  } finally {
    closeSync(descriptor);
  }
  const lazily = "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0";
  await run(["/usr/sbin/mkfs.ext4", "-q", "-F", "-m", "0", "-O", "has_journal", "-E", lazily, file], 30_000);
  chownSync(file, uid, uid);
}
