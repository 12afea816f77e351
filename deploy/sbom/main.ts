import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { z } from "zod";
import { checkoutDir } from "../dev/instance.ts";
import { type Component, imageComponents, serviceComponents } from "./components.ts";
import { cycloneDx } from "./cyclonedx.ts";

const usage = `usage: node deploy/sbom/main.ts
   or: make sbom

Writes what is shipped as CycloneDX JSON to .run/sbom: the services, and the guest images base and openclaw.
`;

const directory = `${checkoutDir}/.run/sbom`;
const { version } = z
  .object({ version: z.string() })
  .parse(JSON.parse(readFileSync(`${checkoutDir}/package.json`, "utf8")));

function write(name: string, components: readonly Component[]): void {
  const path = `${directory}/${name}.cdx.json`;
  writeFileSync(path, cycloneDx({ name: `lobsterd-${name}`, version }, components));
  process.stdout.write(`${path}: ${components.length} components\n`);
}

async function main(): Promise<number> {
  let wantsHelp: boolean | undefined;
  try {
    wantsHelp = parseArgs({ options: { help: { type: "boolean", short: "h" } } }).values.help;
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n${usage}`);
    return 2;
  }
  if (wantsHelp === true) {
    process.stdout.write(usage);
    return 0;
  }
  mkdirSync(directory, { recursive: true });
  write("services", serviceComponents(checkoutDir));
  for (const image of ["base", "openclaw"] as const) write(`guest-${image}`, await imageComponents(checkoutDir, image));
  return 0;
}

process.exitCode = await main();
