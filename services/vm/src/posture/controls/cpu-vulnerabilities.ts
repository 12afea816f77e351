import {
  type Control,
  type Finding,
  failed,
  type HostView,
  isEmulated,
  judged,
  notApplicable,
  pass,
  unknown,
  worst,
} from "../control.ts";
import { compareReleases, type KnownVersions } from "../known-versions.ts";
import { readKernelRelease } from "./kernel.ts";

const directory = "/sys/devices/system/cpu/vulnerabilities";

/** What the kernels that are listed report on x86, and since when where not all of them do. */
export const reportedVulnerabilities: ReadonlyArray<{ readonly name: string; readonly since?: string }> = [
  ...[
    ...["l1tf", "mds", "meltdown", "spectre_v1", "spectre_v2", "spec_store_bypass", "tsx_async_abort", "itlb_multihit"],
    ...["srbds", "mmio_stale_data", "retbleed", "spec_rstack_overflow", "gather_data_sampling"],
    ...["reg_file_data_sampling", "indirect_target_selection", "tsa", "vmscape"],
  ].map((name) => ({ name })),
  { name: "old_microcode", since: "6.16.0" },
];

/** Every known way in which one guest's speculation reads another's or the host's memory is closed. */
export const mitigationsOn: Control = {
  id: "HOST-07",
  required: true,
  requirement:
    "every file in cpu/vulnerabilities says Not affected or Mitigation, all that the kernel should have are there, and no mitigation is switched off at boot",
  remedy: "update kernel and microcode; take mitigations=off and its kind off the kernel command line",
  check: async (host) => worst([await judgeVulnerabilities(host), await judgeCommandLine(host)]),
};

async function judgeVulnerabilities({ files, known }: HostView): Promise<Finding> {
  const names = await files.names(directory);
  if (!names.ok) return unknown(names.why);
  if (names.value.length === 0) return unknown(`${directory} is empty`);
  const release = await readKernelRelease(files);
  const absent = judged(release, (value) => judgeAbsent(names.value, value, known.ok ? known.value : undefined));
  const parts = await Promise.all(
    names.value.map(async (name) =>
      judged(await files.text(`${directory}/${name}`), (text) =>
        isMitigated(text) ? pass(name) : failed(`${name}: ${text}`),
      ),
    ),
  );
  const summary = worst([absent, ...parts]);
  return summary.verdict === "pass" ? pass(`${parts.length} files, none vulnerable`) : summary;
}

/** `KVM: Mitigation: …` is how itlb_multihit says it. A mitigation that names something vulnerable is incomplete. */
function isMitigated(text: string): boolean {
  return /^(Not affected$|(KVM: )?Mitigation: )/.test(text) && !/vulnerable/i.test(text);
}

/** On a kernel of a listed branch a missing file means a release too old to know the weakness. On others it cannot be told. */
function judgeAbsent(names: readonly string[], release: string, known: KnownVersions | undefined): Finding {
  const wanted = reportedVulnerabilities.filter(
    ({ since }) => since === undefined || compareReleases(release, since) >= 0,
  );
  const absent = wanted.map(({ name }) => name).filter((name) => !names.includes(name));
  if (absent.length === 0) return pass("all files there");
  const branch = release.split(".", 2).join(".");
  const listed = known?.kernelBranches.some((row) => row.branch === branch) ?? false;
  const measured = `${release} does not report ${absent.join(", ")}`;
  return listed ? failed(measured) : unknown(measured);
}

const offSwitches: ReadonlySet<string> = new Set([
  ...["nopti", "nospectre_v1", "nospectre_v2", "nospec_store_bypass_disable"],
  ...["kvm.nx_huge_pages=never", "kvm.nx_huge_pages=off", "kvm_intel.vmentry_l1d_flush=never"],
]);
const switchesOfOneBug: ReadonlySet<string> = new Set([
  ...["pti", "spectre_v2", "spectre_v2_user", "spectre_bhi", "spec_store_bypass_disable", "l1tf", "mds"],
  ...["tsx_async_abort", "mmio_stale_data", "srbds", "retbleed", "spec_rstack_overflow", "gather_data_sampling"],
  ...["reg_file_data_sampling", "indirect_target_selection", "tsa", "vmscape"],
]);

async function judgeCommandLine({ files }: HostView): Promise<Finding> {
  return judged(await files.text("/proc/cmdline"), (line) => {
    const off = line.split(/\s+/).filter(isOffSwitch);
    return off.length === 0 ? pass("no off switch at boot") : failed(`booted with ${off.join(", ")}`);
  });
}

function isOffSwitch(parameter: string): boolean {
  // The kernel takes dashes and underscores in names for the same.
  const word = parameter.replaceAll("-", "_");
  const [key = "", value = ""] = word.split("=", 2);
  // Since 6.17 `auto` may be followed by classes of attack to leave open: `auto,no_guest_host`.
  if (key === "mitigations") return value.split(/[,;]/).some((part) => part === "off" || part.startsWith("no_"));
  return offSwitches.has(word) || (value === "off" && switchesOfOneBug.has(key));
}

const hugePagesPath = "/sys/module/kvm/parameters/nx_huge_pages";

/** A guest can stop the whole machine through executable huge pages on CPUs with the iTLB erratum. Security first, boot time second. */
export const hugePagesNotExecutable: Control = {
  id: "HOST-11",
  required: false,
  requirement: "where the CPU has the iTLB multihit erratum, kvm's nx_huge_pages is not switched off",
  remedy: "kvm.nx_huge_pages=auto; for the start latency mount cgroup2 with favordynmods instead",
  check: async (host) => {
    const bug = await host.files.text(`${directory}/itlb_multihit`);
    if (!bug.ok) return unknown(bug.why);
    const pages = await host.files.text(hugePagesPath);
    if (isEmulated(host)) return notApplicable(`itlb_multihit: ${bug.value}; guests are emulated, without KVM`);
    if (bug.value === "Not affected")
      return pass(`Not affected; nx_huge_pages ${pages.ok ? pages.value : "not there"}`);
    if (!pages.ok) return unknown(pages.why);
    const measured = `itlb_multihit: ${bug.value}; nx_huge_pages ${pages.value}`;
    return ["never", "N"].includes(pages.value) ? failed(measured) : pass(measured);
  },
};

const flushPath = "/sys/module/kvm_intel/parameters/vmentry_l1d_flush";

/**
 * `cond` flushes only after paths that the kernel thinks may have left secrets, which is for guests that trust one another a little.
 * Tenants do not, so only `always` passes here.
 */
export const cacheFlushedOnEntry: Control = {
  id: "HOST-17",
  required: false,
  requirement: "where the CPU has L1TF, kvm_intel's vmentry_l1d_flush is always",
  remedy: "options kvm_intel vmentry_l1d_flush=always (deploy/host/modprobe.d)",
  check: async (host) => {
    const bug = await host.files.text(`${directory}/l1tf`);
    if (!bug.ok) return unknown(bug.why);
    if (bug.value === "Not affected") return notApplicable("l1tf: Not affected");
    if (isEmulated(host)) return notApplicable(`l1tf: ${bug.value}; guests are emulated, without KVM`);
    return judged(await host.files.text(flushPath), (flush) =>
      flush === "always" ? pass(`vmentry_l1d_flush ${flush}`) : failed(`vmentry_l1d_flush ${flush}`),
    );
  },
};
