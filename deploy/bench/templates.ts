import { readFile, writeFile } from "node:fs/promises";
import { configPath } from "../dev/processes.ts";
import type { Stack } from "../dev/stack.ts";

/** Starts the stack's launcher anew, with templates or without; those it had are gone with it. */
export async function setTemplates(stack: Stack, mode: "on" | "off"): Promise<void> {
  const path = configPath(stack.instance, "vm-launcher");
  const configuration = JSON.parse(await readFile(path, "utf8")) as Record<string, unknown>;
  await writeFile(path, JSON.stringify({ ...configuration, templates: { mode } }));
  await stack.restart("vm-launcher");
  await stack.waitHealthy();
}
