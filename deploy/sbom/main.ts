import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { z } from "zod";
import { checkoutDir } from "../dev/instance.ts";
import { type Component, imageComponents, serviceComponents } from "./components.ts";
import { cycloneDx } from "./cyclonedx.ts";

const directory = `${checkoutDir}/.run/sbom`;
const { version } = z
  .object({ version: z.string() })
  .parse(JSON.parse(readFileSync(`${checkoutDir}/package.json`, "utf8")));

function write(name: string, components: readonly Component[]): void {
  const path = `${directory}/${name}.cdx.json`;
  writeFileSync(path, cycloneDx({ name: `lobsterd-${name}`, version }, components));
  process.stdout.write(`${path}: ${components.length} components\n`);
}

mkdirSync(directory, { recursive: true });
write("services", serviceComponents(checkoutDir));
for (const image of ["base", "openclaw"] as const) write(`guest-${image}`, await imageComponents(checkoutDir, image));
