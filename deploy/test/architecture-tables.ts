import { readFileSync } from "node:fs";
import { join } from "node:path";

/** A row of the table "Processes" in docs/architecture.md. */
export interface ProcessRow {
  readonly process: string;
  readonly user: string;
  readonly capabilities: readonly string[];
}

const page = join(import.meta.dirname, "../../docs/architecture.md");

/** The processes of a stack, microVMs aside: what the document claims is what the tests compare `/proc` with. */
export function processTable(): readonly ProcessRow[] {
  const section = /## Processes\n([\s\S]*?)\n## /.exec(readFileSync(page, "utf8"))?.[1] ?? "";
  return section
    .split("\n")
    .map((line) => line.split("|").map((cell) => cell.trim().replaceAll("`", "")))
    .filter(([, process]) => process !== undefined && /^[a-z-]+$/.test(process) && !process.startsWith("-"))
    .map(([, process = "", user = "", capabilities = ""]) => ({
      process,
      user,
      capabilities: capabilities === "none" ? [] : capabilities.split(" "),
    }));
}
