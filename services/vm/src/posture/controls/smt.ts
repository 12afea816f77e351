import { type Control, type Finding, failed, type HostView, notApplicable, pass } from "../control.ts";

const directory = "/sys/devices/system/cpu";

/** No guest shares a core's caches and buffers with another's sibling thread. */
export const smtOff: Control = {
  id: "HOST-01",
  required: true,
  requirement: "SMT is off: smt/active is 0 and smt/control is off, forceoff or notsupported",
  remedy: "boot with nosmt=force (deploy/host/kernel-command-line), or switch it off in the firmware",
  check: judgeSmt,
};

/** Missing files are a failure here and not unknown: a kernel that cannot tell has not switched it off. */
async function judgeSmt({ files }: HostView): Promise<Finding> {
  const active = await files.text(`${directory}/smt/active`);
  const control = await files.text(`${directory}/smt/control`);
  if (!active.ok) return failed(active.why);
  if (!control.ok) return failed(control.why);
  const measured = `active ${active.value}, control ${control.value}`;
  if (active.value !== "0") return failed(measured);
  if (["off", "forceoff", "notsupported"].includes(control.value)) return pass(measured);
  if (control.value !== "notimplemented") return failed(measured);
  return judgeTopology({ files }, measured);
}

/** `notimplemented` says that the kernel cannot switch threads off; it counts where no core has two of them. */
async function judgeTopology({ files }: Pick<HostView, "files">, measured: string): Promise<Finding> {
  const names = await files.names(directory);
  if (!names.ok) return failed(`${measured}; ${names.why}`);
  const cpus = names.value.filter((name) => /^cpu\d+$/.test(name));
  if (cpus.length === 0) return failed(`${measured}; no topology`);
  for (const cpu of cpus) {
    const path = `${directory}/${cpu}/topology/thread_siblings_list`;
    const siblings = await files.text(path);
    if (!siblings.ok) return failed(`${measured}; ${siblings.why}`);
    if (!/^\d+$/.test(siblings.value)) return failed(`${measured}; ${cpu} shares a core: ${siblings.value}`);
  }
  return pass(`${measured}; one thread per core`);
}

/**
 * Where SMT stays on, threads of two VMs must at least never share a core at the same time. It compensates and is never equivalent: a
 * guest still reads what the kernel left in the core's buffers. So a waiver of HOST-01 holds only where this passes.
 */
export const coreScheduling: Control = {
  id: "HOST-12",
  required: false,
  requirement: "SMT is off, or each VM's threads have a core-scheduling cookie of their own",
  remedy: "switch SMT off (HOST-01); the launcher sets no cookies yet",
  check: async (host) => {
    const smt = await judgeSmt(host);
    if (smt.verdict === "pass") return notApplicable("SMT is off");
    if (!host.coreCookies) return failed("SMT is on, and the launcher sets no core-scheduling cookies");
    const release = await host.files.text("/proc/sys/kernel/osrelease");
    if (!release.ok) return failed(release.why);
    const config = await host.files.text(`/boot/config-${release.value}`);
    if (!config.ok) return failed(`SMT is on; whether the kernel schedules by core cannot be told: ${config.why}`);
    const supported = /^CONFIG_SCHED_CORE=y$/m.test(config.value);
    return supported
      ? pass("SMT is on; the launcher sets cookies, and the kernel has CONFIG_SCHED_CORE")
      : failed("SMT is on, and the kernel is without CONFIG_SCHED_CORE");
  },
};
