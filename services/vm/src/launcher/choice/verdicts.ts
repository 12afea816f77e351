import { lstatSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { z } from "zod";
import type { ProbeVerdict } from "./probe.ts";

/** What a verdict depends on: another boot of the host, guest kernel or VMM is another question. */
export interface ProbeQuestion {
  readonly vmm: "firecracker" | "qemu";
  readonly bootId: string;
  readonly kernelDigest: string;
  readonly vmmDigest: string;
}

const verdictSchema = z.strictObject({
  vmm: z.enum(["firecracker", "qemu"]),
  bootId: z.string(),
  kernelDigest: z.string(),
  vmmDigest: z.string(),
  alive: z.boolean(),
  detail: z.string().max(300),
});
const maxBytes = 4096;

/**
 * The verdict on the same question, if it was asked before, else that of `probe`, which is kept: a launcher that starts again does not wait for
 * a dead guest again. A file that cannot be read as one is no verdict. Deleting the file asks again.
 */
export async function rememberedVerdict(
  directory: string,
  question: ProbeQuestion,
  probe: () => Promise<ProbeVerdict>,
): Promise<ProbeVerdict> {
  const file = `${directory}/${question.vmm}.json`;
  const known = readVerdict(file);
  const same =
    known?.bootId === question.bootId &&
    known.kernelDigest === question.kernelDigest &&
    known.vmmDigest === question.vmmDigest &&
    known.vmm === question.vmm;
  if (known !== undefined && same) return { alive: known.alive, detail: known.detail };
  const verdict = await probe();
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  writeFileSync(`${file}.new`, JSON.stringify({ ...question, ...verdict }), { mode: 0o600 });
  renameSync(`${file}.new`, file);
  return verdict;
}

function readVerdict(file: string): z.infer<typeof verdictSchema> | undefined {
  const found = lstatSync(file, { throwIfNoEntry: false });
  if (found?.isFile() !== true || found.size > maxBytes) return undefined;
  try {
    return verdictSchema.parse(JSON.parse(readFileSync(file, "utf8")));
  } catch (error) {
    if (error instanceof z.ZodError || error instanceof SyntaxError) return undefined;
    throw error;
  }
}
