/** Controls of memory, kernel, users and the parts that run: values on both sides of every bound. */
import type { HostView } from "../control.ts";
import { type Case, casesOf, kernel, qemu } from "./case.ts";
import type { Tree } from "./host-tree.ts";
import { nowMs, soundKnown } from "./sound-host.ts";

const ksm = (run: string, shared: string, sharing: string): Tree => ({
  "/sys/kernel/mm/ksm/run": run,
  "/sys/kernel/mm/ksm/pages_shared": shared,
  "/sys/kernel/mm/ksm/pages_sharing": sharing,
});
const table = (max: number, buckets = max, establishedTimeoutSeconds = 3600): Partial<HostView> => ({
  conntrack: { ok: true, value: { max, buckets, establishedTimeoutSeconds } },
});
const withNeed = (max: number, need: number): Partial<HostView> => ({
  conntrack: { ok: true, value: { max, need, buckets: max, establishedTimeoutSeconds: 3600 } },
});
const swaps = (area: string): Tree => ({ "/proc/swaps": `Filename Type Size Used Priority\n${area}\n` });
const noHibernationFile: Tree = { "/sys/power/disk": undefined };
const installedDaysAgo = (days: number): Tree => ({
  "/boot/vmlinuz-6.1.0-56-amd64": { changeTimeMs: nowMs - days * 86_400_000 },
});
const memoryErrors = (corrected: string, uncorrected: string): Tree => ({
  "/sys/devices/system/edac/mc/mc0/ce_count": corrected,
  "/sys/devices/system/edac/mc/mc0/ue_count": uncorrected,
});
const register = (reviewed: string): Tree => ({
  "/docs/residual-risks.md": `Reviewed: ${reviewed}\n\nAccepted by: ann\n`,
});
const kvm = (mode: number, more: object = {}): Tree => ({ "/dev/kvm": { kind: "other", mode, gid: 104, ...more } });
const sysctl = (path: string, value: string): Tree => ({ [`/proc/sys/${path}`]: value });
const hoursAgo = (hours: number, corrected: number): Partial<HostView> => ({
  earlierMemoryErrors: { timeMs: nowMs - hours * 3_600_000, corrected },
});

export const hostCases: readonly Case[] = [
  ...casesOf(
    "HOST-02",
    ["off", "pass", ksm("0", "0", "0")],
    ["scanning", "fail", ksm("1", "0", "0")],
    ["stopped with pages left merged", "fail", ksm("0", "7", "0")],
    ["stopped with pages left shared", "fail", ksm("0", "0", "7")],
    ["unmerging, not off", "fail", ksm("2", "0", "0")],
    ["missing", "unknown", { "/sys/kernel/mm/ksm/run": undefined }],
    ["not a number", "unknown", ksm("0", "", "0")],
  ),
  ...casesOf(
    "HOST-05",
    ["enough for 100 slots", "pass", {}, table(276_480)],
    ["one too few for 100 slots", "fail", {}, table(276_479)],
    ["enough for 1000 slots", "pass", {}, { ...table(2_580_480), slotCount: 1000 }],
    ["one too few for 1000 slots", "fail", {}, { ...table(2_580_479), slotCount: 1000 }],
    ["as many as net needs at lower limits", "pass", {}, withNeed(40_000, 40_000)],
    ["fewer than net needs at higher limits", "fail", {}, withNeed(276_480, 276_481)],
    ["fewer buckets than entries", "fail", {}, table(276_480, 276_479)],
    ["established for 3601 s", "fail", {}, table(276_480, 276_480, 3601)],
    ["missing", "unknown", {}, { conntrack: { ok: false, cause: "missing", why: "net does not answer" } }],
  ),
  ...casesOf(
    "HOST-06",
    ["Debian's newest", "pass"],
    ["upstream's newest", "pass", kernel("6.18.63")],
    ["behind, 6 days after the fix", "pass", kernel("6.1.191")],
    ["behind, 15 days after the fix", "fail", kernel("6.18.62")],
    ["of no listed branch", "fail", kernel("6.12.90")],
    ["of a branch without a known release", "unknown", kernel("5.10.250")],
    [
      "judged by an old table",
      "unknown",
      {},
      { known: { ok: true, value: { ...soundKnown, reviewed: "2026-11-11" } } },
    ],
    [
      "judged by a table from the future",
      "unknown",
      {},
      { known: { ok: true, value: { ...soundKnown, reviewed: "2026-12-01" } } },
    ],
    ["reboot pending for 6 days", "pass", installedDaysAgo(6)],
    ["reboot pending for 8 days", "fail", installedDaysAgo(8)],
    ["image not in /boot", "unknown", { "/boot/vmlinuz-6.1.0-55-amd64": undefined }],
    ["missing release", "unknown", { "/proc/sys/kernel/osrelease": undefined }],
    ["missing table", "unknown", {}, { known: { ok: false, cause: "missing", why: "no table" } }],
  ),
  ...casesOf(
    "HOST-09",
    ["few corrected errors", "pass"],
    ["an uncorrected error", "fail", memoryErrors("3", "1")],
    ["9 corrected in an hour", "pass", memoryErrors("12", "0"), hoursAgo(1, 3)],
    ["10 corrected in an hour", "fail", memoryErrors("13", "0"), hoursAgo(1, 3)],
    ["10 corrected in a minute", "fail", memoryErrors("13", "0"), hoursAgo(1 / 60, 3)],
    ["9 corrected in a minute", "pass", memoryErrors("12", "0"), hoursAgo(1 / 60, 3)],
    ["10 corrected in two hours", "pass", memoryErrors("13", "0"), hoursAgo(2, 3)],
    [
      "no controller",
      "unknown",
      {
        ...{
          "/sys/devices/system/edac/mc/mc0/ce_count": undefined,
          "/sys/devices/system/edac/mc/mc0/ue_count": undefined,
        },
        "/sys/devices/system/edac/mc/power/control": "auto",
      },
    ],
    [
      "missing",
      "unknown",
      {
        "/sys/devices/system/edac/mc/mc0/ce_count": undefined,
        "/sys/devices/system/edac/mc/mc0/ue_count": undefined,
      },
    ],
    ["TRR not attested", "unknown", {}, { attestations: { ok: true, value: [] } }],
  ),
  ...casesOf(
    "HOST-10",
    ["no swap", "pass"],
    ["a partition", "fail", swaps("/dev/sda2 partition 1000 0 -2")],
    ["a file", "fail", swaps("/swapfile file 1000 0 -2")],
    ["zram", "fail", swaps("/dev/zram0 partition 1000 0 100")],
    ["hibernation possible", "fail", { "/sys/power/disk": "[platform] shutdown reboot" }],
    [
      "hibernation masked",
      "pass",
      {
        "/sys/power/disk": "[platform] shutdown reboot",
        "/etc/systemd/system/hibernate.target": { link: "/dev/null" },
      },
    ],
    ["a kernel without hibernation", "pass", { ...noHibernationFile, "/sys/power/state": "freeze mem" }],
    ["hibernation that cannot be told", "unknown", noHibernationFile],
    ["missing", "unknown", { "/proc/swaps": undefined }],
    ["without its header", "unknown", { "/proc/swaps": "" }],
  ),
  ...casesOf(
    "HOST-13",
    ["reviewed 90 days ago", "pass", register("2026-08-28")],
    ["reviewed 91 days ago", "fail", register("2026-08-27")],
    ["reviewed tomorrow", "fail", register("2026-11-27")],
    ["no such day", "unknown", register("2026-99-99")],
    ["without a date", "unknown", { "/docs/residual-risks.md": "Accepted by: ann" }],
    ["accepted by nobody", "unknown", { "/docs/residual-risks.md": "Reviewed: 2026-11-20" }],
    ["missing", "unknown", { "/docs/residual-risks.md": undefined }],
  ),
  ...casesOf(
    "HOST-14",
    ["as it should be", "pass"],
    ["/dev/kvm for everybody", "fail", kvm(0o666)],
    ["/dev/kvm for root alone", "pass", kvm(0o600, { gid: 0 })],
    ["/dev/kvm of a user", "fail", kvm(0o660, { uid: 1000 })],
    ["/dev/kvm of another group", "fail", kvm(0o660, { gid: 0 })],
    ["a person in group kvm", "fail", { "/etc/group": "kvm:x:104:ann" }],
    [
      "a person whose first group is kvm",
      "fail",
      { "/etc/passwd": "libvirt-qemu:x:64:104::/:/bin/false\nann:x:1000:104::/home/ann:/bin/bash" },
    ],
    ["a member that no local file knows", "fail", { "/etc/group": "kvm:x:104:somebody" }],
    ["no /dev/kvm", "unknown", { "/dev/kvm": undefined }],
    ["no /dev/kvm under emulation", "pass", { "/dev/kvm": undefined }, qemu("tcg")],
    ["symlinks followed", "fail", sysctl("fs/protected_symlinks", "0")],
    ["hard links to foreign files", "fail", sysctl("fs/protected_hardlinks", "0")],
    ["FIFOs half protected", "fail", sysctl("fs/protected_fifos", "1")],
    ["files half protected", "fail", sysctl("fs/protected_regular", "1")],
    ["ptrace of own processes", "fail", sysctl("kernel/yama/ptrace_scope", "0")],
    ["ptrace for root alone", "pass", sysctl("kernel/yama/ptrace_scope", "2")],
    ["BPF for users", "fail", sysctl("kernel/unprivileged_bpf_disabled", "0")],
    ["userfaultfd for users", "fail", sysctl("vm/unprivileged_userfaultfd", "1")],
    ["kernel log for users", "fail", sysctl("kernel/dmesg_restrict", "0")],
    ["kernel addresses for root", "fail", sysctl("kernel/kptr_restrict", "1")],
    ["core dumps in the working directory", "fail", sysctl("kernel/core_pattern", "core")],
    ["core dumps to a collector", "fail", sysctl("kernel/core_pattern", "|/lib/systemd/systemd-coredump %P")],
    ["a service that may dump core", "fail", { "/proc/self/limits": "Max core file size  0  unlimited  bytes" }],
    [
      "the command's own limit",
      "pass",
      { "/proc/self/limits": "Max core file size  0  unlimited  bytes" },
      { inService: false },
    ],
    ["not readable", "unknown", { "/proc/sys/fs/protected_fifos": { text: "2", denied: true } }],
    ["missing", "unknown", { "/proc/sys/kernel/yama/ptrace_scope": undefined }],
  ),
  ...casesOf(
    "HOST-15",
    ["version 2", "pass"],
    ["version 1 under Firecracker", "fail", { "/sys/fs/cgroup": { kind: "directory", fileSystemType: 0x01021994 } }],
    [
      "version 1 under QEMU",
      "not-applicable",
      { "/sys/fs/cgroup": { kind: "directory", fileSystemType: 0x01021994 } },
      qemu("tcg"),
    ],
    ["missing", "unknown", { "/sys/fs/cgroup": undefined }],
  ),
  ...casesOf(
    "VMM-01",
    ["Firecracker", "pass"],
    ["QEMU", "fail", {}, qemu("kvm")],
    ["missing", "unknown", {}, { vmm: undefined }],
    ["no stack asked", "not-applicable", {}, { vmm: undefined, inService: false }],
  ),
  ...casesOf(
    "FC-17",
    ["no template", "pass"],
    ["QEMU", "not-applicable", {}, qemu("tcg")],
    ["missing release", "unknown", { "/proc/version": undefined }],
  ),
  ...casesOf(
    "SUP-03",
    ["nothing known", "pass"],
    [
      "a bad Firecracker",
      "fail",
      {},
      { vmm: { vmm: "firecracker", version: "1.15.0", accelerator: "kvm", productionBoundary: true } },
    ],
    [
      "a bad Firecracker of the launcher's table alone",
      "fail",
      {},
      {
        known: { ok: true, value: { ...soundKnown, advisories: [] } },
        vmm: { vmm: "firecracker", version: "1.14.0", accelerator: "kvm", productionBoundary: true },
      },
    ],
    ["a bad Node", "fail", {}, { nodeVersion: "24.12.0" }],
    ["the first good Node", "pass", {}, { nodeVersion: "24.13.0" }],
    [
      "a new entry for what runs",
      "fail",
      {},
      {
        known: {
          ok: true,
          value: {
            ...soundKnown,
            advisories: [{ component: "linux", id: "CVE-2026-9999", from: "6.1.0", before: "6.1.193" }],
          },
        },
      },
    ],
    ["an old table", "unknown", {}, { known: { ok: true, value: { ...soundKnown, reviewed: "2026-11-11" } } }],
    ["missing", "unknown", {}, { known: { ok: false, cause: "missing", why: "no table" } }],
  ),
  ...casesOf(
    "G2",
    ["on a device of its own", "pass"],
    ["on the secrets' device", "fail", { "/keys": { mode: 0o700, device: 1 } }],
    ["missing", "unknown", { "/keys": undefined }],
    ["no file", "not-applicable", {}, { rootKey: undefined }],
  ),
];
