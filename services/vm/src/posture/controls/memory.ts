import {
  type Control,
  daysSince,
  type Finding,
  failed,
  type HostView,
  judged,
  type MemoryErrorSample,
  pass,
  readInteger,
  unknown,
  worst,
} from "../control.ts";
import type { HostFiles, Reading } from "../host-files.ts";

const ksmDirectory = "/sys/kernel/mm/ksm";

/** Merged pages tell one tenant by timing what another has in memory. */
export const pagesUnmerged: Control = {
  id: "HOST-02",
  required: true,
  requirement: "KSM is off and nothing is left merged: run, pages_shared and pages_sharing are 0",
  remedy: "write 2, then 0 to /sys/kernel/mm/ksm/run: 0 alone leaves merged pages merged (deploy/host/tmpfiles.d)",
  check: async ({ files }) =>
    worst(
      await Promise.all(
        ["run", "pages_shared", "pages_sharing"].map(async (name) =>
          judged(await readInteger(files, `${ksmDirectory}/${name}`), (value) =>
            value === 0 ? pass(`${name} 0`) : failed(`${name} ${value}`),
          ),
        ),
      ),
    ),
};

const memoryControllers = "/sys/devices/system/edac/mc";
const maxCorrectedPerHour = 10;

/** Corrected and uncorrected errors of all memory controllers since they were last reset. */
async function readMemoryErrors(files: HostFiles): Promise<Reading<{ corrected: number; uncorrected: number }>> {
  const names = await files.names(memoryControllers);
  if (!names.ok) return names;
  const controllers = names.value.filter((name) => /^mc\d+$/.test(name));
  if (controllers.length === 0) {
    return { ok: false, cause: "unfit", why: `${memoryControllers} has no memory controller` };
  }
  const sum = { corrected: 0, uncorrected: 0 };
  for (const controller of controllers) {
    const corrected = await readInteger(files, `${memoryControllers}/${controller}/ce_count`);
    if (!corrected.ok) return corrected;
    const uncorrected = await readInteger(files, `${memoryControllers}/${controller}/ue_count`);
    if (!uncorrected.ok) return uncorrected;
    sum.corrected += corrected.value;
    sum.uncorrected += uncorrected.value;
  }
  return { ok: true, value: sum };
}

/** What the next check compares with; `undefined` where no controller reports. */
export async function sampleMemoryErrors(files: HostFiles, timeMs: number): Promise<MemoryErrorSample | undefined> {
  const errors = await readMemoryErrors(files);
  return errors.ok ? { timeMs, corrected: errors.value.corrected } : undefined;
}

/** ECC can be read; target row refresh cannot, so an operator attests it (Rowhammer). */
export const memoryErrorsCorrected: Control = {
  id: "HOST-09",
  required: false,
  requirement: "ECC memory without uncorrected errors, fewer than 10 corrected ones in an hour, and TRR attested",
  remedy: "replace the module; load the EDAC driver; attest TRR in the attestations file (deploy/host/README.md)",
  check: async (host) => {
    const errors = judged(await readMemoryErrors(host.files), (counts) => judgeMemoryErrors(counts, host));
    return worst([errors, judgeAttestation(host)]);
  },
};

function judgeMemoryErrors(
  { corrected, uncorrected }: { corrected: number; uncorrected: number },
  { earlierMemoryErrors, nowMs }: HostView,
): Finding {
  if (uncorrected > 0) return failed(`${uncorrected} uncorrected errors`);
  if (earlierMemoryErrors === undefined) return pass(`ECC reports; ${corrected} corrected errors, none uncorrected`);
  const grown = corrected - earlierMemoryErrors.corrected;
  // At least an hour's worth is allowed at once, so that checks in quick succession do not multiply one error.
  const hours = Math.max(1, (nowMs - earlierMemoryErrors.timeMs) / 3_600_000);
  const rate = grown / hours;
  const measured = `${grown} corrected errors more than ${hours.toFixed(1)} h ago, none uncorrected`;
  return rate < maxCorrectedPerHour ? pass(measured) : failed(measured);
}

function judgeAttestation({ attestations, nowMs }: HostView): Finding {
  if (!attestations.ok) return unknown(`TRR cannot be measured and is not attested: ${attestations.why}`);
  const attested = attestations.value.find(({ control }) => control === "HOST-09");
  if (attested === undefined) return unknown("TRR cannot be measured and is not attested");
  if (daysSince(attested.date, nowMs) < 0) return unknown(`TRR is attested for a day to come, ${attested.date}`);
  return pass(`attested by ${attested.owner} on ${attested.date}: ${attested.statement}`);
}

/** A tenant's memory on a disk outlives the tenant; and mincore tells resident pages only where nothing is swapped out. */
export const nothingSwaps: Control = {
  id: "HOST-10",
  required: true,
  requirement: "no swap of any kind (partition, file, zram), and the host cannot hibernate",
  remedy: "swapoff -a, no swap in /etc/fstab, mask zram and dev-*.swap units; boot with nohibernate",
  check: async ({ files }) => {
    const swaps = judged(await files.text("/proc/swaps"), (text) => {
      const [header = "", ...areas] = text.split("\n");
      if (!header.startsWith("Filename")) return unknown("/proc/swaps has no header");
      const names = areas.map((line) => line.split(/\s/, 1)[0]);
      return names.length === 0 ? pass("no swap") : failed(`swap on ${names.join(", ")}`);
    });
    return worst([swaps, await judgeHibernation(files)]);
  },
};

async function judgeHibernation(files: HostFiles): Promise<Finding> {
  const disk = await files.text("/sys/power/disk");
  if (disk.ok && disk.value.includes("[disabled]")) return pass("hibernation is disabled");
  const target = await files.link("/etc/systemd/system/hibernate.target");
  if (target.ok && target.value === "/dev/null") return pass("hibernate.target is masked");
  if (disk.ok) return failed(`the host can hibernate: /sys/power/disk is ${disk.value}`);
  // A kernel without hibernation has no such file; what it can do is in `state`.
  return judged(await files.text("/sys/power/state"), (states) =>
    states.split(/\s+/).includes("disk") ? unknown(disk.why) : pass("the kernel knows no hibernation"),
  );
}
