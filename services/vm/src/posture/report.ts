import type { Control, Finding, HostView, Verdict } from "./control.ts";
import { controls } from "./controls.ts";
import type { Waiver, WaiverFile } from "./operator-word.ts";

/** One control as it stands. */
export interface ControlRow extends Pick<Control, "id" | "required" | "requirement" | "remedy"> {
  readonly verdict: Verdict | "waived";
  readonly measured: string;
  /** Set when the verdict is waived. */
  readonly waiver?: Waiver;
}

/** What one check of the whole host found. */
export interface PostureReport {
  readonly checkTimeMs: number;
  readonly rows: readonly ControlRow[];
}

/** A waiver of the first holds only where the second passes or is waived itself. */
const compensations: Readonly<Record<string, string>> = { "HOST-01": "HOST-12" };

export const controlIds: ReadonlySet<string> = new Set(controls.map(({ id }) => id));

/** Judges every control and puts the operator's waivers over what is not met. */
export async function checkControls(host: HostView, waivers: WaiverFile): Promise<PostureReport> {
  const findings = new Map<string, Finding>();
  for (const control of controls) findings.set(control.id, await control.check(host));
  const rows = controls.map((control) => rowOf(control, findings, waivers));
  return { checkTimeMs: host.nowMs, rows: [...rows, waiverRow(waivers)] };
}

/** Rows for which production spawns no tenant. */
export function blockers({ rows }: PostureReport): readonly ControlRow[] {
  return rows.filter(({ required, verdict }) => required && isUnmet(verdict));
}

export function isUnmet(verdict: ControlRow["verdict"]): boolean {
  return verdict === "fail" || verdict === "unknown";
}

function rowOf(control: Control, findings: ReadonlyMap<string, Finding>, file: WaiverFile): ControlRow {
  const { id, required, requirement, remedy } = control;
  const finding = findings.get(id);
  if (finding === undefined) throw new Error(`${id} was not judged`);
  const row = { id, required, requirement, remedy, ...finding };
  const waiver = file.waivers.find((candidate) => candidate.control === id);
  if (waiver === undefined || !isUnmet(finding.verdict)) return row;
  const needed = compensations[id];
  if (needed !== undefined && !isCompensated(needed, findings, file)) {
    return { ...row, measured: `${finding.measured} (the waiver needs ${needed})` };
  }
  const measured = `${finding.measured} (waived by ${waiver.owner} until ${waiver.expires})`;
  return { ...row, verdict: "waived", measured, waiver };
}

function isCompensated(id: string, findings: ReadonlyMap<string, Finding>, { waivers }: WaiverFile): boolean {
  return findings.get(id)?.verdict === "pass" || waivers.some(({ control }) => control === id);
}

/** Waivers that do not hold are shown by themselves: they may be of controls that are met again. */
function waiverRow({ present, waivers, faults }: WaiverFile): ControlRow {
  const fields = {
    id: "WAIVERS",
    required: false,
    requirement: "the waiver file is root's alone, well formed, and names no expired waiver",
    remedy: "correct or remove the entry that the row names",
  };
  if (!present) return { ...fields, verdict: "not-applicable", measured: "no waiver file" };
  if (faults.length > 0) return { ...fields, verdict: "fail", measured: faults.join("; ") };
  return { ...fields, verdict: "pass", measured: `${waivers.length} waivers` };
}
