/**
 * Checks that `proto/gen` is what `buf generate` makes of the protos now, and, where git has an earlier state of the protos on
 * `main`, that no change breaks callers of it.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

function buf(...args: string[]): { status: number; output: string } {
  const { status, stdout, stderr } = spawnSync("buf", args, { encoding: "utf8", timeout: 120_000 });
  return { status: status ?? 1, output: `${stdout}${stderr}` };
}

function filesOf(directory: string): Map<string, string> {
  const names = readdirSync(directory, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts"));
  return new Map(names.sort().map((name) => [name, readFileSync(join(directory, name), "utf8")]));
}

function generatedFaults(): string[] {
  const scratch = mkdtempSync(join(tmpdir(), "lobsterd-generated-"));
  try {
    const { status, output } = buf("generate", "--output", scratch);
    if (status !== 0) return [`buf generate failed: ${output}`];
    const fresh = filesOf(join(scratch, "proto/gen"));
    const committed = filesOf("proto/gen");
    const names = new Set([...fresh.keys(), ...committed.keys()]);
    return [...names]
      .filter((name) => fresh.get(name) !== committed.get(name))
      .map((name) => `proto/gen/${name} does not match the protos: run make generate`);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function breakingFaults(): string[] {
  const main = spawnSync("git", ["rev-parse", "--verify", "--quiet", "main:buf.yaml"], { encoding: "utf8" });
  if (main.status !== 0) {
    process.stdout.write("breaking changes not checked: this clone has no branch main with protos\n");
    return [];
  }
  const { status, output } = buf("breaking", "--against", ".git#branch=main");
  return status === 0 ? [] : output.trim().split("\n");
}

const faults = [...generatedFaults(), ...breakingFaults()];
for (const fault of faults) process.stderr.write(`${fault}\n`);
process.exitCode = faults.length > 0 ? 1 : 0;
