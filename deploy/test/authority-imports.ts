/** Lint: each directory under `services/` is one authority. It imports `proto` and `chassis`, never another service. */
import { globSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";

const importPattern = /(?:from|import)\s*\(?\s*["']([^"']+)["']/g;

/** The service that an import leads to, or `undefined` if it leads outside `services/`. */
export function importedService(file: string, specifier: string): string | undefined {
  const path = specifier.startsWith(".") ? normalize(join(dirname(file), specifier)) : specifier;
  return /^(?:services|@lobsterd)\/([a-z]+)\//.exec(path)?.[1];
}

/** Imports of `text` that cross from one service into another. */
export function foreignImports(file: string, text: string): readonly string[] {
  const own = /^services\/([a-z]+)\//.exec(file)?.[1];
  if (own === undefined) return [];
  const allowed = new Set([own, "chassis", "proto"]);
  return [...text.matchAll(importPattern)]
    .map(([, specifier = ""]) => specifier)
    .filter((specifier) => {
      const service = importedService(file, specifier);
      return service !== undefined && !allowed.has(service);
    });
}

if (import.meta.main) {
  const faults = globSync("services/*/src/**/*.ts").flatMap((file) =>
    foreignImports(file, readFileSync(file, "utf8")).map((specifier) => `${file}: imports ${specifier}`),
  );
  for (const fault of faults) process.stderr.write(`${fault}\n`);
  process.exitCode = faults.length > 0 ? 1 : 0;
}
