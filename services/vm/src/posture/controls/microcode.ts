import { type Control, type Finding, failed, type HostView, judged, pass, unknown, worst } from "../control.ts";
import type { KnownVersions } from "../known-versions.ts";

interface Cpu {
  readonly vendor: string;
  readonly family: number;
  readonly model: number;
  readonly stepping: number;
  readonly revision: number;
}

/** Half of the mitigations are instructions that only new microcode has. */
export const microcodeCurrent: Control = {
  id: "HOST-08",
  required: false,
  requirement: "all CPUs run one microcode revision, at least the one known for their model",
  remedy: "install intel-microcode or amd64-microcode and reboot: it has to be loaded early, from the initrd",
  check: async (host) => judged(await host.files.text("/proc/cpuinfo"), (text) => judgeCpus(text, host)),
};

function judgeCpus(text: string, { known }: HostView): Finding {
  const cpus = text.split(/\n\s*\n/).map(parseCpu);
  const [first] = cpus;
  if (first === undefined || cpus.includes(undefined)) return unknown("/proc/cpuinfo names no microcode");
  const revisions = [...new Set(cpus.map((cpu) => hexOf(cpu?.revision ?? 0)))];
  if (revisions.length > 1) return failed(`CPUs differ: ${revisions.join(", ")}`);
  return worst([pass(`${cpus.length} CPUs`), judged(known, (tables) => judgeRevision(first, tables))]);
}

function judgeRevision(cpu: Cpu, { microcode }: KnownVersions): Finding {
  const { vendor, family, model, stepping, revision } = cpu;
  const measured = `${vendor} ${family}/${model}/${stepping} at ${hexOf(revision)}`;
  const row = microcode.find(
    (entry) =>
      entry.vendor === vendor && entry.family === family && entry.model === model && entry.steppings.includes(stepping),
  );
  if (row === undefined) return unknown(`${measured}; the table knows no revision for it`);
  return revision >= Number(row.revision)
    ? pass(`${measured}, ${row.revision} needed`)
    : failed(`${measured}, but ${row.revision} needed (${row.source})`);
}

function parseCpu(block: string): Cpu | undefined {
  const field = (name: string) => new RegExp(`^${name}\\s*: (.+)$`, "m").exec(block)?.[1];
  const [vendor, family, model, stepping, revision] = ["vendor_id", "cpu family", "model", "stepping", "microcode"].map(
    field,
  );
  if (vendor === undefined || revision === undefined || !/^0x[0-9a-f]{1,8}$/.test(revision)) return undefined;
  const numbers = [family, model, stepping].map(Number);
  if (!numbers.every(Number.isSafeInteger)) return undefined;
  const [familyNumber = 0, modelNumber = 0, steppingNumber = 0] = numbers;
  return {
    ...{ vendor, family: familyNumber, model: modelNumber, stepping: steppingNumber },
    revision: Number(revision),
  };
}

const hexOf = (revision: number) => `0x${revision.toString(16)}`;
