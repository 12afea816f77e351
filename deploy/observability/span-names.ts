/** Every span name that the code can make: what a TraceQL query or a trace's shape may name. */
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { DescFile } from "@bufbuild/protobuf";
import * as journal from "../../services/vm/src/lifecycle/journal.ts";

const root = join(import.meta.dirname, "../..");

/** RPCs by their full names, steps of the journal, what is made of a list, and the literals that stand where a span is begun. */
export async function spanNames(): Promise<ReadonlySet<string>> {
  return new Set([...(await rpcNames()), ...journalSteps(), ...fromLists(), ...literals()]);
}

/** `spawnSteps` and every list like it, so that one that is added needs no line here. */
function journalSteps(): string[] {
  return Object.entries(journal).flatMap(([name, value]) =>
    name.endsWith("Steps") && Array.isArray(value) ? value.map(String) : [],
  );
}

async function rpcNames(): Promise<string[]> {
  const files = globSync("proto/gen/lobsterd/**/*_pb.ts", { cwd: root });
  const modules = await Promise.all(files.map((file) => import(join(root, file)) as Promise<Record<string, unknown>>));
  return modules.flatMap((module) =>
    Object.values(module)
      .filter(isFile)
      .flatMap((file) => file.services)
      .flatMap((service) => service.methods.map((method) => `${service.typeName}/${method.name}`)),
  );
}

function isFile(value: unknown): value is DescFile {
  return typeof value === "object" && value !== null && "kind" in value && value.kind === "file";
}

/** Spans named after the parts that a removal removes, and after the stages that the launcher times. */
function fromLists(): string[] {
  const removal = readFileSync(join(root, "services/vm/src/lifecycle/removal.ts"), "utf8");
  const protocol = readFileSync(join(root, "services/vm/src/launcher/protocol.ts"), "utf8");
  const parts = [...removal.matchAll(/\bname: "([a-z]+)"/g)].map(([, part = ""]) => `remove-${part}`);
  const [, stages = ""] = /stagesMs: z\.strictObject\(\{([^}]*)\}/.exec(protocol) ?? [];
  return [...parts, ...[...stages.matchAll(/(\w+):/g)].map(([, stage = ""]) => `launcher ${stage}`)];
}

function literals(): string[] {
  const sources = globSync(["services/*/src/**/*.ts", "deploy/guest/agent/*.ts"], { cwd: root });
  return sources
    .filter((file) => !/\.(test|fixture|ablation)\.ts$/.test(file))
    .flatMap((file) => [
      ...readFileSync(join(root, file), "utf8").matchAll(
        /(?:\binSpan|\battempt|[tT]racer\.start)\(\s*(?:life, )?"([^"]+)"/g,
      ),
    ])
    .map(([, name = ""]) => name);
}
