/** A host on which every control passes: tests change one thing of it at a time. */
import type { HostView } from "../control.ts";
import { reportedVulnerabilities } from "../controls/cpu-vulnerabilities.ts";
import type { KnownVersions } from "../known-versions.ts";
import { createHostTree, type HostTree, type Tree } from "./host-tree.ts";

export const nowMs = Date.parse("2026-11-26T12:00:00Z");
const dayMs = 86_400_000;
const cpus = "/sys/devices/system/cpu";
export const vmCgroup = `/lobsterd-prod/${"a1".repeat(16)}`;

const known: KnownVersions = {
  reviewed: "2026-11-20",
  kernelBranches: [
    { branch: "6.1", newest: { release: "6.1.192", published: "2026-11-20", source: "test" } },
    { branch: "6.18", newest: { release: "6.18.63", published: "2026-11-11", source: "test" } },
    { branch: "5.10" },
  ],
  microcode: [
    {
      ...{ vendor: "GenuineIntel", family: 6, model: 143, steppings: [7, 8] },
      ...{ revision: "0x2b000690", source: "test" },
    },
  ],
  advisories: [
    { component: "firecracker", id: "CVE-2026-5747", from: "1.15.0", before: "1.15.1" },
    { component: "node", id: "CVE-2025-55131", from: "24.0.0", before: "24.13.0" },
  ],
};

export function cpuInfo(
  revision: string,
  options: { stepping?: number; flags?: string; vendor?: string } = {},
): string {
  const { stepping = 8, flags = "fpu lm vmx", vendor = "GenuineIntel" } = options;
  return [
    `vendor_id\t: ${vendor}`,
    ...["cpu family\t: 6", "model\t\t: 143", "model name\t: Xeon", `stepping\t: ${stepping}`],
    ...[`microcode\t: ${revision}`, `flags\t\t: ${flags}`],
  ].join("\n");
}

export const soundTree: Tree = {
  [`${cpus}/smt/active`]: "0\n",
  [`${cpus}/smt/control`]: "forceoff\n",
  [`${cpus}/cpu0/topology/thread_siblings_list`]: "0\n",
  [`${cpus}/cpu1/topology/thread_siblings_list`]: "1\n",
  ...Object.fromEntries(
    reportedVulnerabilities.map(({ name }) => [`${cpus}/vulnerabilities/${name}`, "Not affected\n"]),
  ),
  [`${cpus}/vulnerabilities/itlb_multihit`]: "KVM: Mitigation: Split huge pages\n",
  [`${cpus}/vulnerabilities/l1tf`]: "Mitigation: PTE Inversion; VMX: cache flushes, SMT disabled\n",
  "/sys/kernel/mm/ksm/run": "0\n",
  "/sys/kernel/mm/ksm/pages_shared": "0\n",
  "/sys/kernel/mm/ksm/pages_sharing": "0\n",
  "/sys/module/kvm/parameters/min_timer_period_us": "500\n",
  "/sys/module/kvm/parameters/nx_huge_pages": "Y\n",
  "/sys/module/kvm_intel/parameters/vmentry_l1d_flush": "always\n",
  "/sys/devices/system/edac/mc/mc0/ce_count": "3\n",
  "/sys/devices/system/edac/mc/mc0/ue_count": "0\n",
  "/sys/power/disk": "[disabled]\n",
  "/sys/power/state": "freeze mem disk\n",
  "/sys/fs/cgroup": { kind: "directory", fileSystemType: 0x63677270 },
  "/proc/2/comm": "kthreadd\n",
  "/proc/40/comm": "firecracker\n",
  "/proc/40/cgroup": `0::${vmCgroup}\n`,
  "/proc/41/comm": "kvm-pit/40\n",
  "/proc/41/cgroup": `0::${vmCgroup}\n`,
  "/proc/swaps": "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n",
  "/proc/cmdline": "BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro mitigations=auto,nosmt nohibernate\n",
  "/proc/cpuinfo": `${cpuInfo("0x2b000690")}\n\n${cpuInfo("0x2b000690")}\n`,
  "/proc/uptime": "864000.00 1000.00\n",
  "/proc/version":
    "Linux version 6.1.0-55-amd64 (debian-kernel@lists.debian.org) #1 SMP Debian 6.1.192-2 (2026-11-20)\n",
  "/proc/sys/kernel/osrelease": "6.1.0-55-amd64\n",
  "/proc/self/limits":
    "Limit  Soft Limit  Hard Limit  Units\nMax core file size        0                    0                    bytes\n",
  "/boot/vmlinuz-6.1.0-55-amd64": { changeTimeMs: nowMs - 11 * dayMs },
  "/boot/config-6.1.0-55-amd64": "CONFIG_SMP=y\nCONFIG_SCHED_CORE=y\n",
  "/proc/sys/fs/protected_symlinks": "1\n",
  "/proc/sys/fs/protected_hardlinks": "1\n",
  "/proc/sys/fs/protected_fifos": "2\n",
  "/proc/sys/fs/protected_regular": "2\n",
  "/proc/sys/kernel/yama/ptrace_scope": "1\n",
  "/proc/sys/kernel/unprivileged_bpf_disabled": "2\n",
  "/proc/sys/kernel/dmesg_restrict": "1\n",
  "/proc/sys/kernel/kptr_restrict": "2\n",
  "/proc/sys/kernel/core_pattern": "|/bin/false\n",
  "/proc/sys/vm/unprivileged_userfaultfd": "0\n",
  "/dev/kvm": { kind: "other", mode: 0o660, gid: 104 },
  "/etc/group": "root:x:0:\nkvm:x:104:libvirt-qemu\n",
  "/etc/passwd":
    "root:x:0:0::/root:/bin/bash\nlibvirt-qemu:x:64:104::/:/bin/false\nann:x:1000:1000::/home/ann:/bin/bash\n",
  "/docs/residual-risks.md": "# Residual risks\n\nReviewed: 2026-10-01\n\nAccepted by: the security owner\n",
  "/keys": { mode: 0o700, uid: 990, device: 2 },
  "/state/secrets": { kind: "directory", mode: 0o700, uid: 990 },
};

/** A view of the sound host with some of it changed. */
export function viewOf(tree: Tree = {}, changes: Partial<HostView> = {}): HostView & { readonly files: HostTree } {
  return {
    nowMs,
    slotCount: 100,
    vmm: { vmm: "firecracker", version: "1.16.1", accelerator: "kvm", productionBoundary: true },
    inService: true,
    placementLimitMs: 0,
    coreCookies: false,
    conntrack: { ok: true, value: { max: 276_480, buckets: 276_480, establishedTimeoutSeconds: 3600 } },
    known: { ok: true, value: known },
    attestations: {
      ok: true,
      value: [{ control: "HOST-09", statement: "DDR5 with TRR", owner: "ann", date: "2026-06-01" }],
    },
    riskRegisterPath: "/docs/residual-risks.md",
    nodeVersion: "24.21.0",
    rootKey: { keyDir: "/keys", storeDir: "/state/secrets" },
    earlierMemoryErrors: undefined,
    ...changes,
    files: createHostTree({ ...soundTree, ...tree }),
  };
}

export const soundKnown = known;
