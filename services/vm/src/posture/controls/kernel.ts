import {
  type Control,
  daysSince,
  type Finding,
  failed,
  type HostView,
  judged,
  pass,
  unknown,
  worst,
} from "../control.ts";
import type { HostFiles, Reading } from "../host-files.ts";
import { compareReleases, type KnownVersions, releaseOf } from "../known-versions.ts";

const maxUpdateAgeDays = 14;
const maxRebootDays = 7;
const dayMs = 86_400_000;

/** Escapes are rare, not absent: how fast a host gets its fixes is the control. */
export const kernelCurrent: Control = {
  id: "HOST-06",
  required: true,
  requirement:
    "the kernel is of a branch that Firecracker is validated on (5.10, 6.1, 6.18), no more than 14 days behind its fixes, with no reboot pending for 7 days",
  remedy: "install the distribution's kernel updates and reboot; keep the table of known versions current",
  check: async (host) => {
    const release = await readKernelRelease(host.files);
    if (!release.ok) return unknown(release.why);
    const update = judged(host.known, (known) => judgeRelease(release.value, known, host.nowMs));
    if (update.verdict === "fail") return update;
    return worst([update, await judgePendingReboot(host)]);
  },
};

/**
 * The upstream release that runs. Debian names kernels by ABI (`6.1.0-40-cloud-amd64`) and says in `/proc/version` which release it is
 * built from.
 */
export async function readKernelRelease(files: HostFiles): Promise<Reading<string>> {
  const name = await files.text("/proc/sys/kernel/osrelease");
  if (!name.ok) return name;
  const version = await files.text("/proc/version");
  if (!version.ok) return version;
  const debian = /\bDebian (\d+\.\d+\.\d+)/.exec(version.value)?.[1];
  const release = releaseOf(debian ?? name.value);
  return release === undefined
    ? { ok: false, cause: "unfit", why: `${name.value} is no kernel release` }
    : { ok: true, value: release.join(".") };
}

function judgeRelease(release: string, known: KnownVersions, nowMs: number): Finding {
  const branch = release.split(".", 2).join(".");
  const row = known.kernelBranches.find((candidate) => candidate.branch === branch);
  if (row === undefined) return failed(`${release} is of no listed branch`);
  if (row.newest === undefined) return unknown(`${release}: no newest release of ${branch} is known`);
  const { newest } = row;
  const behindDays = daysSince(newest.published, nowMs);
  if (compareReleases(release, newest.release) < 0) {
    const measured = `${release}; ${newest.release} is out since ${newest.published}`;
    return behindDays > maxUpdateAgeDays ? failed(measured) : pass(measured);
  }
  const age = daysSince(known.reviewed, nowMs);
  const measured = `${release}; newest known is ${newest.release} (reviewed ${known.reviewed})`;
  if (age < 0 || age > maxUpdateAgeDays) return unknown(`${measured}: too long ago to tell`);
  return pass(measured);
}

/** A kernel image that was installed after the machine started is one that does not run yet. */
async function judgePendingReboot({ files, nowMs }: HostView): Promise<Finding> {
  const name = await files.text("/proc/sys/kernel/osrelease");
  const uptime = await files.text("/proc/uptime");
  const names = await files.names("/boot");
  if (!name.ok) return unknown(name.why);
  if (!uptime.ok) return unknown(uptime.why);
  if (!names.ok) return unknown(`a pending reboot cannot be told: ${names.why}`);
  const upSeconds = Number(uptime.value.split(" ", 1)[0]);
  if (!(upSeconds >= 0)) return unknown("/proc/uptime is not a number");
  const images = names.value.filter((image) => image.startsWith("vmlinuz-"));
  if (!images.includes(`vmlinuz-${name.value}`)) {
    return unknown(`a pending reboot cannot be told: the running kernel ${name.value} is not in /boot`);
  }
  let pendingDays = 0;
  for (const image of images) {
    const status = await files.status(`/boot/${image}`);
    if (!status.ok) return unknown(status.why);
    const { changeTimeMs } = status.value;
    if (changeTimeMs > nowMs - upSeconds * 1000) pendingDays = Math.max(pendingDays, (nowMs - changeTimeMs) / dayMs);
  }
  if (pendingDays === 0) return pass("no reboot pending");
  const measured = `a reboot is pending for ${pendingDays.toFixed(1)} days`;
  return pendingDays > maxRebootDays ? failed(measured) : pass(measured);
}
