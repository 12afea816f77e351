/** Controls of the CPU and of KVM: real strings, and values on both sides of every bound. */
import { type Case, casesOf, kernel, qemu, smt, vulnerability } from "./case.ts";
import type { Tree } from "./host-tree.ts";
import { cpuInfo, vmCgroup } from "./sound-host.ts";

const cpus = "/sys/devices/system/cpu";
const siblings = (list: string): Tree => ({ [`${cpus}/cpu1/topology/thread_siblings_list`]: list });
const bootedWith = (words: string): Tree => ({ "/proc/cmdline": `root=/dev/sda1 ro ${words}\n` });
const timer = (value: string | undefined): Tree => ({ "/sys/module/kvm/parameters/min_timer_period_us": value });
const pages = (bug: string, value: string): Tree => ({
  ...vulnerability("itlb_multihit", bug),
  "/sys/module/kvm/parameters/nx_huge_pages": value,
});
const flush = (value: string): Tree => ({ "/sys/module/kvm_intel/parameters/vmentry_l1d_flush": value });
const twoCpus = (first: string, second: string): Tree => ({
  "/proc/cpuinfo": `${cpuInfo(first)}\n\n${cpuInfo(second)}\n`,
});

export const cpuCases: readonly Case[] = [
  ...casesOf(
    "HOST-01",
    ["off", "pass", smt("0", "off")],
    ["force off", "pass", smt("0", "forceoff")],
    ["not supported", "pass", smt("0", "notsupported")],
    ["on", "fail", smt("1", "on")],
    ["active though control says off", "fail", smt("1", "off")],
    ["inactive though it may be switched on", "fail", smt("0", "on")],
    ["not implemented, one thread a core", "pass", smt("0", "notimplemented")],
    ["not implemented, two threads a core", "fail", { ...smt("0", "notimplemented"), ...siblings("0-1") }],
    [
      "not implemented, no topology",
      "fail",
      { ...smt("0", "notimplemented"), [`${cpus}/cpu1/topology/thread_siblings_list`]: { denied: true } },
    ],
    ["missing", "fail", { [`${cpus}/smt/active`]: undefined, [`${cpus}/smt/control`]: undefined }],
  ),
  ...casesOf(
    "HOST-03",
    ["in its VM's cgroup", "pass"],
    [
      "in version 1's cpu cgroup",
      "pass",
      {
        "/proc/40/cgroup": `4:memory:/\n3:cpu,cpuacct:${vmCgroup}\n0::/\n`,
        "/proc/41/cgroup": `4:memory:/\n3:cpu,cpuacct:${vmCgroup}\n0::/\n`,
      },
    ],
    ["none there", "pass", { "/proc/41/comm": "kworker/0:1" }],
    ["in the root cgroup", "fail", { "/proc/41/cgroup": "0::/" }],
    ["in another VM's cgroup", "fail", { "/proc/41/cgroup": `0::/lobsterd-prod/${"b2".repeat(16)}` }],
    ["with its VMM outside", "fail", { "/proc/40/cgroup": "0::/user.slice", "/proc/41/cgroup": "0::/user.slice" }],
    [
      "of pid 40 in the cgroup of pid 4",
      "fail",
      {
        "/proc/4/comm": "firecracker",
        "/proc/4/cgroup": `0::/lobsterd-prod/${"c3".repeat(16)}`,
        "/proc/41/cgroup": `0::/lobsterd-prod/${"c3".repeat(16)}`,
      },
    ],
    ["of a VMM that is gone", "unknown", { "/proc/40/cgroup": undefined }],
    ["missing: kernel threads are hidden", "unknown", { "/proc/2/comm": undefined }],
  ),
  ...casesOf(
    "HOST-04",
    ["100 us", "fail", timer("100")],
    ["the kernel's 200 us", "fail", timer("200")],
    ["499 us", "fail", timer("499")],
    ["500 us", "pass", timer("500")],
    ["1000 us", "pass", timer("1000")],
    ["5000 us, with a note", "pass", timer("5000")],
    ["missing", "unknown", timer(undefined)],
    ["under emulation", "not-applicable", timer("200"), qemu("tcg")],
    ["under QEMU with KVM", "fail", timer("200"), qemu("kvm")],
  ),
  ...casesOf(
    "HOST-07",
    ["all mitigated", "pass"],
    ["mds mitigated", "pass", vulnerability("mds", "Mitigation: Clear CPU buffers; SMT disabled")],
    ["mds with SMT", "fail", vulnerability("mds", "Mitigation: Clear CPU buffers; SMT vulnerable")],
    [
      "mds without microcode",
      "fail",
      vulnerability("mds", "Vulnerable: Clear CPU buffers attempted, no microcode; SMT disabled"),
    ],
    ["vmscape open", "fail", vulnerability("vmscape", "Vulnerable")],
    ["vmscape closed", "pass", vulnerability("vmscape", "Mitigation: IBPB before exit to userspace")],
    ["old microcode", "fail", vulnerability("old_microcode", "Vulnerable")],
    ["retbleed open", "fail", vulnerability("retbleed", "Vulnerable")],
    ["srbds unknown", "fail", vulnerability("srbds", "Unknown: Dependent on hypervisor status")],
    ["itlb_multihit open", "fail", vulnerability("itlb_multihit", "KVM: Vulnerable")],
    [
      "branch history open",
      "fail",
      vulnerability("spectre_v2", "Mitigation: Enhanced / Automatic IBRS; IBPB: conditional; BHI: Vulnerable"),
    ],
    ["a weakness that is yet to be named", "fail", vulnerability("brand_new", "Vulnerable")],
    ["vmscape not reported by a listed kernel", "fail", vulnerability("vmscape", undefined)],
    [
      "vmscape not reported by another kernel",
      "unknown",
      { ...kernel("6.12.90"), ...vulnerability("vmscape", undefined) },
    ],
    ["old_microcode not reported by 6.1", "pass", vulnerability("old_microcode", undefined)],
    [
      "old_microcode not reported by 6.18",
      "fail",
      { ...kernel("6.18.63"), ...vulnerability("old_microcode", undefined) },
    ],
    ["mitigations=off", "fail", bootedWith("mitigations=off")],
    ["mitigations=auto,nosmt", "pass", bootedWith("mitigations=auto,nosmt")],
    ["guests left open to one another", "fail", bootedWith("mitigations=auto,no_guest_host,no_guest_guest")],
    ["one switched off", "fail", bootedWith("spectre_v2=off")],
    ["nopti", "fail", bootedWith("nopti")],
    ["vmscape=off", "fail", bootedWith("vmscape=off")],
    ["another spelling", "fail", bootedWith("spec-store-bypass-disable=off")],
    ["l1d never flushed", "fail", bootedWith("kvm-intel.vmentry_l1d_flush=never")],
    ["missing command line", "unknown", { "/proc/cmdline": undefined }],
  ),
  ...casesOf(
    "HOST-08",
    ["as the table says", "pass"],
    ["newer", "pass", twoCpus("0x2b000691", "0x2b000691")],
    ["older", "fail", twoCpus("0x2b00068f", "0x2b00068f")],
    ["CPUs that differ", "fail", twoCpus("0x2b000690", "0x2b000691")],
    ["a CPU that the table does not know", "unknown", { "/proc/cpuinfo": cpuInfo("0x1", { vendor: "AuthenticAMD" }) }],
    ["missing", "unknown", { "/proc/cpuinfo": undefined }],
  ),
  ...casesOf(
    "HOST-11",
    ["affected, pages not executable", "pass", pages("KVM: Mitigation: Split huge pages", "Y")],
    ["affected, never", "fail", pages("KVM: Vulnerable", "never")],
    ["affected, N", "fail", pages("KVM: Vulnerable", "N")],
    ["not affected, pages not executable", "pass", pages("Not affected", "Y")],
    ["not affected, never", "pass", pages("Not affected", "never")],
    ["missing parameter", "unknown", { "/sys/module/kvm/parameters/nx_huge_pages": undefined }],
    ["missing report", "unknown", vulnerability("itlb_multihit", undefined)],
    ["under emulation", "not-applicable", {}, qemu("tcg")],
  ),
  ...casesOf(
    "HOST-12",
    ["SMT off", "not-applicable"],
    ["SMT on without cookies", "fail", smt("1", "on")],
    ["SMT on with cookies", "pass", smt("1", "on"), { coreCookies: true }],
    [
      "cookies that the kernel does not know",
      "fail",
      { ...smt("1", "on"), "/boot/config-6.1.0-55-amd64": "CONFIG_SMP=y" },
      { coreCookies: true },
    ],
    [
      "missing kernel configuration",
      "fail",
      { ...smt("1", "on"), "/boot/config-6.1.0-55-amd64": undefined },
      { coreCookies: true },
    ],
  ),
  ...casesOf(
    "HOST-16",
    ["x86_64", "pass"],
    ["arm64", "fail", { "/proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x41" }],
    ["i686", "fail", { "/proc/cpuinfo": cpuInfo("0x1", { flags: "fpu sse2" }) }],
    ["missing", "unknown", { "/proc/cpuinfo": undefined }],
  ),
  ...casesOf(
    "HOST-17",
    ["always", "pass", flush("always")],
    ["cond, which is for guests that trust one another", "fail", flush("cond")],
    ["never", "fail", flush("never")],
    ["not affected", "not-applicable", vulnerability("l1tf", "Not affected")],
    ["missing parameter", "unknown", { "/sys/module/kvm_intel/parameters/vmentry_l1d_flush": undefined }],
    ["missing report", "unknown", vulnerability("l1tf", undefined)],
    ["under emulation", "not-applicable", {}, qemu("tcg")],
  ),
];
