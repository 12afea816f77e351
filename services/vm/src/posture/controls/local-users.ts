import {
  type Control,
  type Finding,
  failed,
  type HostView,
  judged,
  pass,
  readInteger,
  unknown,
  worst,
} from "../control.ts";
import type { FileStatus, HostFiles } from "../host-files.ts";

/** An ordinary local user, or a service that was taken over, gets no further by way of KVM, links, traces or core dumps. */
export const localUsersHeld: Control = {
  id: "HOST-14",
  required: true,
  requirement:
    "/dev/kvm is for root and a group kvm without people; links, ptrace, BPF, userfaultfd and kernel addresses are closed to users; nothing leaves a core dump",
  remedy: "deploy/host/sysctl.d and tmpfiles.d; gpasswd -d <user> kvm; LimitCORE=0 in the unit",
  check: async (host) => {
    const settings = await Promise.all(sysctls.map((setting) => judgeSysctl(host.files, setting)));
    return worst([
      await judgeKvmDevice(host),
      ...settings,
      await judgeCorePattern(host.files),
      await judgeCoreLimit(host),
    ]);
  },
};

interface Sysctl {
  readonly name: string;
  readonly least: number;
  readonly most: number;
}

const exactly = (name: string, value: number): Sysctl => ({ name, least: value, most: value });
const atLeast = (name: string, least: number): Sysctl => ({ name, least, most: Number.MAX_SAFE_INTEGER });

/** Settings of the kernel by their sysctl names. */
export const sysctls: readonly Sysctl[] = [
  exactly("fs.protected_symlinks", 1),
  exactly("fs.protected_hardlinks", 1),
  exactly("fs.protected_fifos", 2),
  exactly("fs.protected_regular", 2),
  atLeast("kernel.yama.ptrace_scope", 1),
  atLeast("kernel.unprivileged_bpf_disabled", 1),
  exactly("vm.unprivileged_userfaultfd", 0),
  exactly("kernel.dmesg_restrict", 1),
  exactly("kernel.kptr_restrict", 2),
];

async function judgeSysctl(files: HostFiles, { name, least, most }: Sysctl): Promise<Finding> {
  return judged(await readInteger(files, `/proc/sys/${name.replaceAll(".", "/")}`), (value) =>
    value >= least && value <= most ? pass(`${name} ${value}`) : failed(`${name} ${value}`),
  );
}

/** What the kernel hands a dying process to, and to keep nothing is to hand it to a program that fails. */
const corePatterns = new Set(["|/bin/false", "|/usr/bin/false"]);

async function judgeCorePattern(files: HostFiles): Promise<Finding> {
  return judged(await files.text("/proc/sys/kernel/core_pattern"), (pattern) =>
    corePatterns.has(pattern) ? pass(`core_pattern ${pattern}`) : failed(`core_pattern ${pattern} stores dumps`),
  );
}

async function judgeCoreLimit({ files, inService }: HostView): Promise<Finding> {
  if (!inService) return pass("the core limit of services is checked by the service (CheckHost)");
  return judged(await files.text("/proc/self/limits"), (text) => {
    const limits = /^Max core file size\s+(\S+)\s+(\S+)/m.exec(text);
    if (limits === null) return unknown("/proc/self/limits names no core limit");
    return limits[1] === "0" && limits[2] === "0"
      ? pass("core limit 0")
      : failed(`core limit ${limits[1]}, ${limits[2]}`);
  });
}

/** Mode 0660 root:kvm, or tighter. */
async function judgeKvmDevice({ files, vmm }: HostView): Promise<Finding> {
  const device = await files.status("/dev/kvm");
  if (!device.ok && device.cause === "missing" && vmm?.accelerator === "tcg") {
    return pass("no /dev/kvm to open; guests are emulated");
  }
  if (!device.ok) return unknown(device.why);
  const { mode, uid, gid, kind } = device.value;
  const measured = `/dev/kvm ${mode.toString(8).padStart(4, "0")} ${uid}:${gid}`;
  if (kind !== "other" || uid !== 0 || (mode & 0o7117) !== 0) return failed(measured);
  return (mode & 0o060) === 0 ? pass(measured) : judgeGroup(files, device.value, measured);
}

const firstPersonUid = 1000;
const nobodyUid = 65_534;

async function judgeGroup(files: HostFiles, { gid }: FileStatus, measured: string): Promise<Finding> {
  const groups = await files.text("/etc/group");
  const users = await files.text("/etc/passwd");
  if (!groups.ok) return unknown(`${measured}; ${groups.why}`);
  if (!users.ok) return unknown(`${measured}; ${users.why}`);
  const [name, , , list = ""] =
    groups.value
      .split("\n")
      .map((line) => line.split(":"))
      .find(([, , id]) => id === String(gid)) ?? [];
  if (name !== "kvm") return failed(`${measured}: group ${name ?? "without a name"}`);
  const accounts = users.value.split("\n").map((line) => line.split(":"));
  const members = new Set(list.split(",").filter((member) => member !== ""));
  for (const [user = "", , , primary] of accounts) if (primary === String(gid)) members.add(user);
  const people = [...members].filter((member) => {
    const uid = Number(accounts.find(([user]) => user === member)?.[2] ?? Number.NaN);
    // Somebody that the file does not know comes from a directory of people.
    return Number.isNaN(uid) || (uid >= firstPersonUid && uid !== nobodyUid);
  });
  return people.length === 0 ? pass(`${measured} (kvm)`) : failed(`${measured}: ${people.join(", ")} in group kvm`);
}
