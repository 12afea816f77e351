import { chmodSync, lstatSync, mkdirSync, rmSync } from "node:fs";
import type { Duplex } from "node:stream";
import { hostCapacity } from "./capacity.ts";
import { vmPaths } from "./config.ts";
import { dropNextDisk, readDisk, replaceDisk, syncDisk, writeDisk } from "./disk.ts";
import { removeTree, requireRootOnly, zeroIdentityDrive } from "./files.ts";
import { isRunning, type LauncherHost, memoryBytesOf, processesIn, requireImage, requireRecord } from "./host.ts";
import { placedPits } from "./kvm-pit.ts";
import { createOverlay } from "./overlay.ts";
import { processesOf } from "./processes.ts";
import { type Arguments, LauncherError, type Result, type Verbs } from "./protocol.ts";
import { readRecord, vmIdsIn, writeRecord } from "./records.ts";
import { clearRoom, makeRoom } from "./saved-files.ts";
import { place, readVmm, start } from "./start.ts";

/** The launcher's verbs. Two calls for one VM run one after the other, but for `connect`, which may wait for other VMs. */
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
      ...host.jailer.description,
      ...hostCapacity(
        host.config,
        host.jailer.overheadMib,
        host.jailer.offersTemplates ? host.templates.bytesToCome() : 0,
      ),
      templates: {
        offered: host.jailer.offersTemplates && host.config.templates.mode === "on",
        count: host.templates.count(),
      },
    }),
    list: async () => ({ vms: listVms(host) }),
    prepare: (request) => inTurn(request.vmId, () => prepare(host, request)),
    start: (request) => inTurn(request.vmId, () => start(host, request, { incoming: false })),
    load: (request) => inTurn(request.vmId, () => start(host, request, { incoming: true })),
    connect: (request) => connect(host, request),
    place: ({ vmId }) => inTurn(vmId, () => place(host, vmId)),
    makeRoom: ({ vmId }) => inTurn(vmId, () => makeRoom(host, vmId)),
    clearRoom: ({ vmId }) => inTurn(vmId, async () => clearRoom(host, vmId)),
    inspect: ({ vmId }) => inTurn(vmId, () => inspect(host, vmId)),
    emptyIdentityDrive: ({ vmId }) => inTurn(vmId, () => emptyIdentityDrive(host, vmId)),
    readDisk: ({ vmId }) => inTurn(vmId, () => readDisk(host, vmId)),
    writeDisk: ({ vmId }) => inTurn(vmId, () => writeDisk(host, vmId)),
    replaceDisk: ({ vmId }) => inTurn(vmId, () => replaceDisk(host, vmId)),
    stop: ({ vmId }) => inTurn(vmId, () => stop(host, vmId)),
    remove: ({ vmId }) => inTurn(vmId, () => remove(host, vmId)),
  };
}

async function prepare(host: LauncherHost, request: Arguments<"prepare">): Promise<Result<"prepare">> {
  const { config } = host;
  const { diskKey, ...kept } = request;
  const { vmId, slot, image, overlayMib } = kept;
  const paths = vmPaths(config, vmId);
  if (slot >= config.slotCount) throw new LauncherError("INVALID_REQUEST", `slot ${slot} does not exist`);
  requireImage(config, image);
  for (const directory of [`${config.stateDir}/vms`, `${config.runDir}/jails`]) requireRootOnly(directory);
  for (const path of [paths.disk, paths.jail])
    if (lstatSync(path, { throwIfNoEntry: false })) throw new LauncherError("ALREADY_EXISTS", `${path} exists`);
  if (host.cgroups.members(vmId).size > 0) throw new LauncherError("ALREADY_EXISTS", "the cgroup exists");
  // Up to the written record nothing waits, so two requests cannot both take a slot, and with it a uid.
  requireFreeSlot(host, slot);
  const key = Buffer.from(diskKey, "base64");
  try {
    mkdirSync(paths.disk);
    chmodSync(paths.disk, 0o711);
    writeRecord(paths.record, { version: 1, generation: 0, ...kept });
    host.jailer.prepare(paths, image);
    await createOverlay(paths, overlayMib, config.uidBase + slot, key);
  } catch (error) {
    await remove(host, vmId);
    throw error;
  } finally {
    key.fill(0);
  }
  return {};
}

/** A slot is its uid: it is free when no VM, no process and no file of that uid is left, whoever forgot them. */
function requireFreeSlot(host: LauncherHost, slot: number): void {
  const { config } = host;
  const uid = config.uidBase + slot;
  const holder = listVms(host).find((vm) => vm.slot === slot);
  if (holder !== undefined) throw new LauncherError("SLOT_IN_USE", `slot ${slot} belongs to ${holder.vmId}`);
  const [pid] = processesOf(uid);
  if (pid !== undefined) throw new LauncherError("SLOT_IN_USE", `process ${pid} has uid ${uid}`);
  const owned = listVms(host)
    .map(({ vmId }) => vmPaths(config, vmId))
    .flatMap(({ overlay, identity, jail }) => [overlay, identity, jail])
    .find((path) => lstatSync(path, { throwIfNoEntry: false })?.uid === uid);
  if (owned !== undefined) throw new LauncherError("SLOT_IN_USE", `${owned} has uid ${uid}`);
}

async function connect(host: LauncherHost, { vmId, channel }: Arguments<"connect">): Promise<Duplex> {
  const { slot } = requireRecord(host, vmId);
  const place = host.jailer.channels[channel];
  if (place === undefined)
    throw new LauncherError("WRONG_STATE", `${host.jailer.description.name} has no ${channel} channel`);
  if (!isRunning(host, vmId)) throw new LauncherError("NOT_FOUND", "it does not run");
  const paths = vmPaths(host.config, vmId);
  const isFile = place.kind === "written" || place.kind === "loaded";
  const directory = isFile ? paths.saved : host.jailer.channelsIn(paths, vmId);
  const memoryBytes = isFile ? memoryBytesOf(host, vmId) : 0;
  if (place.kind === "written") await syncDisk(paths.overlay); // no memory leaves that knows more than its disk (SNP-09)
  const boots = channel === "api" && host.jailer.hasKernelTimer && placedPits(host.cgroups, vmId).length === 0;
  const tookTurn = boots && (await host.bootTurn.take(vmId));
  try {
    return await host.openChannel(vmId, directory, place, host.config.uidBase + slot, memoryBytes);
  } catch (error) {
    if (tookTurn) host.bootTurn.end(vmId);
    throw error;
  }
}

async function inspect(host: LauncherHost, vmId: string): Promise<Result<"inspect">> {
  requireRecord(host, vmId);
  if ([...processesIn(host, vmId).values()].flat().length === 0)
    throw new LauncherError("NOT_FOUND", "it does not run");
  const facts = readVmm(host, vmId);
  if (facts.root === "") throw new LauncherError("JAIL_MISMATCH", "its own uid cannot read it");
  return {
    pid: facts.pid,
    uid: facts.uids[0] ?? -1,
    namespaces: facts.namespaces,
    seccompModes: [...facts.seccompModes],
    capabilities: { effective: facts.capabilities.effective, bounding: facts.capabilities.bounding },
    noNewPrivileges: facts.noNewPrivileges,
    cgroup: host.cgroups.values(vmId),
  };
}

async function emptyIdentityDrive(host: LauncherHost, vmId: string): Promise<Result<"emptyIdentityDrive">> {
  const { slot } = requireRecord(host, vmId);
  const { identity } = vmPaths(host.config, vmId);
  if (lstatSync(identity, { throwIfNoEntry: false })) zeroIdentityDrive(identity, host.config.uidBase + slot);
  return {};
}

/** Kills the VM and keeps disk, record and cgroup, so that it is listed as exited. A disk that was to replace its own is dropped, and so are files of a state. */
async function stop(host: LauncherHost, vmId: string): Promise<Result<"stop">> {
  requireRecord(host, vmId);
  host.bootTurn.end(vmId);
  await host.cgroups.kill(vmId);
  host.namespaces.delete(vmId);
  rmSync(vmPaths(host.config, vmId).identity, { force: true });
  clearRoom(host, vmId);
  dropNextDisk(host.config, vmId);
  return {};
}

/** The record goes last (`removeTree` goes by name): as long as anything of the VM is left, its slot and uid are taken. */
async function remove(host: LauncherHost, vmId: string): Promise<Result<"remove">> {
  const paths = vmPaths(host.config, vmId);
  host.bootTurn.end(vmId);
  await host.cgroups.kill(vmId);
  await host.cgroups.remove(vmId);
  host.namespaces.delete(vmId);
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
