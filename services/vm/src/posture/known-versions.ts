import { z } from "zod";
import { type HostFiles, type Reading, unfit } from "./host-files.ts";

const day = z.iso.date();
const release = z.string().regex(/^\d{1,4}(\.\d{1,4}){2}$/);

const knownVersionsSchema = z.strictObject({
  /** When somebody last compared the tables with what is published. */
  reviewed: day,
  kernelBranches: z
    .array(
      z.strictObject({
        branch: z.string().regex(/^\d{1,3}\.\d{1,3}$/),
        /** Newest release with security fixes that is known, and the day by which it was out; absent when none is known. */
        newest: z.strictObject({ release, published: day, source: z.string() }).optional(),
      }),
    )
    .min(1)
    .max(64),
  microcode: z
    .array(
      z.strictObject({
        vendor: z.string(),
        /** As `/proc/cpuinfo` counts them, in decimal. */
        family: z.number().int(),
        model: z.number().int(),
        steppings: z.array(z.number().int()).min(1),
        /** Least revision, hexadecimal. */
        revision: z.string().regex(/^0x[0-9a-f]{1,8}$/),
        source: z.string(),
      }),
    )
    .max(1024),
  advisories: z
    .array(
      z.strictObject({
        component: z.enum(["linux", "node", "firecracker"]),
        id: z.string(),
        /** First affected release, and the first that is not: `from` <= version < `before`. */
        from: release,
        before: release,
      }),
    )
    .max(4096),
});

/** Releases that are good enough or known to be bad: data that ages, so it is dated. */
export type KnownVersions = Readonly<z.infer<typeof knownVersionsSchema>>;

/** The tables that this release came with; an operator's pipeline may keep a newer copy elsewhere. */
export const shippedVersionsPath = `${import.meta.dirname}/known-versions.json`;

export async function readKnownVersions(files: HostFiles, path: string): Promise<Reading<KnownVersions>> {
  const text = await files.text(path);
  if (!text.ok) return text;
  const parsed = parseJson(text.value);
  const result = knownVersionsSchema.safeParse(parsed);
  if (result.success) return { ok: true, value: result.data };
  const [issue] = result.error.issues;
  return unfit(path, `is malformed: ${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""}`);
}

/** The parsed text, or `undefined` for text that is no JSON, which no schema accepts. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The first three numbers of a release: `6.1.153` of `6.1.153-1`; a missing third is 0. */
export function releaseOf(text: string): readonly [number, number, number] | undefined {
  const match = /^v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?/.exec(text);
  return match === null ? undefined : [Number(match[1]), Number(match[2]), Number(match[3] ?? 0)];
}

/** Negative, zero or positive as `a` is older than, equal to or newer than `b`. Neither may be malformed. */
export function compareReleases(a: string, b: string): number {
  const left = releaseOf(a);
  const right = releaseOf(b);
  if (left === undefined || right === undefined) throw new RangeError(`not a release: ${a}, ${b}`);
  return left[0] - right[0] || left[1] - right[1] || left[2] - right[2];
}
