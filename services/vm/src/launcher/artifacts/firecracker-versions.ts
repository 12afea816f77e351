/** Which Firecracker may run here: a table of data (`firecracker-versions.json`), so that a new advisory is an entry and no code. */
import { readFileSync } from "node:fs";
import { z } from "zod";

const release = z.string().regex(/^(0|[1-9]\d{0,4})(\.(0|[1-9]\d{0,4})){2}$/);
const day = z.iso.date();
const entry = { entered: day.describe("when it came into this table"), source: z.string().min(1) };

const tableSchema = z.strictObject({
  reviewed: day.describe("when somebody last compared the table with the published advisories"),
  pinned: z.strictObject({ version: release, ...entry }).describe("the one version of production"),
  floor: z.strictObject({ version: release, ...entry, why: z.string() }).describe("the oldest version of development"),
  bad: z.array(
    z.strictObject({
      id: z.string().regex(/^(CVE|GHSA)-[0-9A-Za-z-]+$/),
      published: day,
      ...entry,
      what: z.string(),
      onlyWithPci: z.boolean().describe("the defect is in the PCI transport, which --enable-pci turns on"),
      ranges: z
        .array(z.strictObject({ first: release, last: release }))
        .min(1)
        .describe("both ends included"),
    }),
  ),
});
export type VersionTable = z.infer<typeof tableSchema>;

export function readVersionTable(path = `${import.meta.dirname}/firecracker-versions.json`): VersionTable {
  return tableSchema.parse(JSON.parse(readFileSync(path, "utf8")));
}

export interface VersionQuestion {
  /** Whether `--enable-pci` is given. lobsterd never gives it; a binary that somebody else starts may have it. */
  readonly pci: boolean;
  /** Production takes the pinned version only; development what is at the floor or above. */
  readonly production: boolean;
}

export type VersionVerdict =
  | { readonly ok: true; readonly version: string }
  | {
      readonly ok: false;
      readonly reason: "MALFORMED" | "NOT_A_RELEASE" | "KNOWN_BAD" | "BELOW_FLOOR" | "NOT_PINNED";
      readonly message: string;
    };

/** Judges a version as Firecracker prints it: `1.16.1`, or `v1.16.1`. A build that is no release is refused, whatever its number. */
export function judge(
  text: string,
  question: VersionQuestion,
  table: VersionTable = readVersionTable(),
): VersionVerdict {
  const refuse = (reason: Extract<VersionVerdict, { ok: false }>["reason"], message: string): VersionVerdict => ({
    ok: false,
    reason,
    message,
  });
  const [, version, suffix] = /^v?(\d{1,5}\.\d{1,5}\.\d{1,5})([-+][0-9A-Za-z.+-]{1,64})?$/.exec(text) ?? [];
  if (version === undefined || !release.safeParse(version).success) {
    return refuse("MALFORMED", "not a version such as 1.16.1");
  }
  if (suffix !== undefined) return refuse("NOT_A_RELEASE", `${version}${suffix} is a build of its own, not a release`);
  const [defect] = defectsOf(version, question, table);
  if (defect !== undefined) return refuse("KNOWN_BAD", `${version} has ${defect.id}: ${defect.what}`);
  const { floor, pinned } = table;
  if (compare(version, floor.version) < 0) {
    return refuse("BELOW_FLOOR", `${version} is older than ${floor.version}, which ${floor.why}`);
  }
  if (question.production && version !== pinned.version) {
    return refuse("NOT_PINNED", `production runs ${pinned.version}, not ${version}`);
  }
  return { ok: true, version };
}

/** The published defects that a release such as 1.16.1 has. */
export function defectsOf(
  version: string,
  { pci }: Pick<VersionQuestion, "pci">,
  { bad }: VersionTable = readVersionTable(),
): VersionTable["bad"] {
  return bad.filter(
    ({ onlyWithPci, ranges }) =>
      (pci || !onlyWithPci) &&
      ranges.some(({ first, last }) => compare(first, version) <= 0 && compare(version, last) <= 0),
  );
}

function compare(a: string, b: string): number {
  const [left, right] = [a, b].map((version) => version.split(".").map(Number));
  for (const index of [0, 1, 2]) {
    const difference = (left?.[index] ?? 0) - (right?.[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
