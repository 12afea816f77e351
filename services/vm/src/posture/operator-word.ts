import { z } from "zod";
import { daysSince } from "./control.ts";
import { type HostFiles, type Reading, unfit } from "./host-files.ts";
import { parseJson } from "./known-versions.ts";

/**
 * What an operator vouches for, in two files that only root may change: waivers of controls that are not met, and attestations of
 * what no software can read. A file that is malformed says nothing at all: half a waiver file would hide the other half.
 */
const controlId = z.string().regex(/^[A-Z][A-Z0-9-]{0,15}$/);
const words = z.string().min(3).max(400);

const waiverSchema = z.strictObject({
  control: controlId,
  reason: words,
  owner: words,
  /** Last day, UTC, on which it holds. */
  expires: z.iso.date(),
});
const attestationSchema = z.strictObject({ control: controlId, statement: words, owner: words, date: z.iso.date() });
const waiversSchema = z.strictObject({ waivers: z.array(waiverSchema).max(64) });
const attestationsSchema = z.strictObject({ attestations: z.array(attestationSchema).max(64) });

export type Waiver = Readonly<z.infer<typeof waiverSchema>>;
export type Attestation = Readonly<z.infer<typeof attestationSchema>>;

/** The waivers that hold, and what is wrong with the file or with single ones. No file: no waivers, and nothing wrong. */
export interface WaiverFile {
  readonly present: boolean;
  readonly waivers: readonly Waiver[];
  readonly faults: readonly string[];
}

/** Reads waivers of the controls `ids`. One that is expired or names another control is a fault and does not hold. */
export async function readWaivers(
  files: HostFiles,
  path: string,
  ids: ReadonlySet<string>,
  nowMs: number,
): Promise<WaiverFile> {
  const reading = await readTrusted(files, path, waiversSchema);
  if (!reading.ok) {
    const present = reading.cause !== "missing";
    return { present, waivers: [], faults: present ? [reading.why] : [] };
  }
  const { waivers: all } = reading.value;
  const names = all.map(({ control }) => control);
  const repeated = names.filter((name, index) => names.indexOf(name) !== index);
  if (repeated.length > 0) {
    return { present: true, waivers: [], faults: [`${path} names ${repeated.join(", ")} more than once`] };
  }
  const faults: string[] = [];
  const waivers = all.filter(({ control, owner, expires }) => {
    const days = daysSince(expires, nowMs);
    if (!ids.has(control)) faults.push(`${control} is no control`);
    else if (days > 0) faults.push(`${owner}'s waiver of ${control} expired on ${expires}`);
    else return true;
    return false;
  });
  return { present: true, waivers, faults };
}

export async function readAttestations(files: HostFiles, path: string): Promise<Reading<readonly Attestation[]>> {
  const reading = await readTrusted(files, path, attestationsSchema);
  return reading.ok ? { ok: true, value: reading.value.attestations } : reading;
}

/** A JSON file that belongs to root and that nobody else can write, in such a directory. */
async function readTrusted<T>(files: HostFiles, path: string, schema: z.ZodType<T>): Promise<Reading<T>> {
  for (const [place, kind] of [
    [path.slice(0, path.lastIndexOf("/")) || "/", "directory"],
    [path, "file"],
  ] as const) {
    const status = await files.status(place);
    if (!status.ok) return status;
    const { uid, mode } = status.value;
    if (status.value.kind !== kind) return unfit(place, `is no ${kind}`);
    if (uid !== 0) return unfit(place, `belongs to uid ${uid}, not to root`);
    if ((mode & 0o022) !== 0) return unfit(place, `is writable by others than root (mode ${mode.toString(8)})`);
  }
  const text = await files.text(path);
  if (!text.ok) return text;
  const result = schema.safeParse(parseJson(text.value));
  if (result.success) return { ok: true, value: result.data };
  const [issue] = result.error.issues;
  return unfit(path, `is malformed: ${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""}`);
}
