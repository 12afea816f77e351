import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  realpathSync,
  rmdirSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { type Namespaces, namespaceNames, type ProcessFacts } from "./processes.ts";
import { identityDriveBytes, LauncherError } from "./protocol.ts";

const mountPoints = ["usr", "image", "dev", "proc", "run", "old"] as const;
const noCapabilities = "0000000000000000";

/** What a VMM's process must look like. */
export interface JailExpectation {
  readonly uid: number;
  /** device:inode of the jail directory. */
  readonly root: string;
  /** Inode of the slot's network namespace. */
  readonly network: string;
  readonly launcher: Namespaces;
  readonly fileSizeBytes: number;
  /** Processes in the VM's cgroup, per hierarchy, and the hierarchies there must be. */
  readonly members: ReadonlyMap<string, readonly number[]>;
  readonly hierarchies: readonly string[];
  readonly cgroupFaults: readonly string[];
}

/** Every property of `facts` that is not as the jail describes it; empty when the process is confined. */
export function jailFaults(facts: ProcessFacts, expected: JailExpectation): string[] {
  const faults: string[] = [];
  const check = (property: string, holds: boolean, actual: unknown) => {
    if (!holds) faults.push(`${property} is ${JSON.stringify(actual)}`);
  };
  const only = (value: number) => (ids: readonly number[]) => ids.length === 4 && ids.every((id) => id === value);
  check("uid", only(expected.uid)(facts.uids), facts.uids);
  check("gid", only(expected.uid)(facts.gids), facts.gids);
  check("groups", facts.groups.length === 0, facts.groups);
  for (const [set, value] of Object.entries(facts.capabilities))
    check(`${set} capabilities`, value === noCapabilities, value);
  check("no-new-privileges", facts.noNewPrivileges, facts.noNewPrivileges);
  check("seccomp", facts.seccompModes.length > 0 && facts.seccompModes.every((mode) => mode === 2), facts.seccompModes);
  check(
    "pid in its namespace",
    facts.pidPerNamespace.length > 1 && facts.pidPerNamespace.at(-1) === 1,
    facts.pidPerNamespace,
  );
  for (const name of namespaceNames) {
    const inode = facts.namespaces[name];
    check(`${name} namespace`, inode !== "" && inode !== expected.launcher[name], inode);
  }
  check("network namespace of the slot", facts.namespaces.net === expected.network, facts.namespaces.net);
  check("root", facts.root === expected.root, facts.root);
  check("mounts", facts.mounts.join("\n") === jailMounts.join("\n"), facts.mounts);
  const foreign = facts.descriptors.filter((target) => !ownDescriptor.test(target));
  check("descriptors", foreign.length === 0, foreign);
  check("open files", facts.limits["open files"] === "256", facts.limits["open files"]);
  check("core size", facts.limits["core file size"] === "0", facts.limits["core file size"]);
  check("locked memory", facts.limits["locked memory"] === "0", facts.limits["locked memory"]);
  check("file size", facts.limits["file size"] === String(expected.fileSizeBytes), facts.limits["file size"]);
  for (const hierarchy of expected.hierarchies) {
    const members = expected.members.get(hierarchy) ?? [];
    check(`cgroup ${hierarchy}`.trim(), members.length === 1 && members[0] === facts.pid, members);
  }
  return [...faults, ...expected.cgroupFaults];
}

/** A VMM inherits nothing but its start-up monitor and its error output, both sockets of the launcher's. */
const ownDescriptor =
  /^(\/dev\/(null|urandom|net\/tun)|\/image\/[a-z.]+|\/overlay\.ext4|\/identity\.img|socket:\[\d+\]|anon_inode:\S+)$/;

/** All the mounts a VMM sees. Only the overlay, its sockets' tmpfs and the root-owned /dev are writable. */
const jailMounts = [
  "/ ro,nosuid,nodev,noexec",
  "/dev rw,nosuid,noexec",
  "/image ro,nosuid,nodev,noexec",
  "/overlay.ext4 rw,nosuid,nodev,noexec",
  "/proc rw,nosuid,nodev,noexec,hidepid=invisible,subset=pid",
  "/run rw,nosuid,nodev,noexec",
  "/usr ro,nosuid,nodev",
];

/** Creates the jail's directory with its mount points, all root's: the VMM can write nothing in its root. Throws when it exists. */
export function createJail(jail: string): void {
  mkdirSync(jail, { mode: 0o711 });
  chmodSync(jail, 0o711);
  for (const name of mountPoints) {
    mkdirSync(`${jail}/${name}`);
    chmodSync(`${jail}/${name}`, name === "old" ? 0o700 : 0o755);
  }
  for (const name of ["lib", "lib64"]) symlinkSync(`usr/${name}`, `${jail}/${name}`);
  writeFileSync(`${jail}/overlay.ext4`, "", { flag: "wx", mode: 0o600 });
}

/** Writes a new identity drive: `content` padded with zeros to 64 KiB, readable by `uid` alone. */
export function writeIdentityDrive(file: string, content: Uint8Array, uid: number): void {
  if (existsSync(file)) unlinkSync(file);
  const descriptor = openSync(
    file,
    constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
    0o400,
  );
  try {
    const padded = new Uint8Array(identityDriveBytes);
    padded.set(content);
    writeAll(descriptor, padded);
    fchownSync(descriptor, uid, uid);
  } finally {
    closeSync(descriptor);
  }
}

/** Overwrites the identity drive with zeros. Refuses anything but the file that `writeIdentityDrive` made. */
export function zeroIdentityDrive(file: string, uid: number): void {
  const descriptor = openSync(file, constants.O_WRONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const found = fstatSync(descriptor);
    const ours = found.isFile() && found.nlink === 1 && found.uid === uid && found.size === identityDriveBytes;
    if (!ours) throw new LauncherError("HOST_UNSAFE", "the identity drive is not the file that the launcher made");
    writeAll(descriptor, new Uint8Array(identityDriveBytes));
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function writeAll(descriptor: number, bytes: Uint8Array): void {
  let written = 0;
  while (written < bytes.length) written += writeSync(descriptor, bytes, written, bytes.length - written, written);
}

/** Throws HOST_UNSAFE unless root alone can change `path` and every directory above it, and none of them is a symbolic link. */
export function requireRootOnly(path: string): void {
  for (let current = path; ; current = dirname(current)) {
    const found = lstatSync(current);
    if (found.isSymbolicLink() || found.uid !== 0 || (found.mode & 0o022) !== 0) {
      throw new LauncherError("HOST_UNSAFE", `${current} can be changed by others than root`);
    }
    if (current === "/") break;
  }
  if (realpathSync(path) !== path) throw new LauncherError("HOST_UNSAFE", `${path} is not its real path`);
}

/** Deletes `path` and what is below it, in order of name, without following links and without leaving its file system. Safe to repeat. */
export function removeTree(path: string, device = lstatSync(dirname(path)).dev): void {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (found.dev !== device) throw new LauncherError("HOST_UNSAFE", `${path} is on another file system`);
  if (!found.isDirectory()) {
    unlinkSync(path);
    return;
  }
  for (const name of readdirSync(path).sort()) removeTree(`${path}/${name}`, device);
  rmdirSync(path);
}
