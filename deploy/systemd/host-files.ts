import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Instance } from "../dev/instance.ts";
import { sysusersText, tmpfilesText } from "./accounts.ts";
import { unitFiles } from "./units.ts";

const unitsDir = "/etc/systemd/system";
export const sysusersPath = "/etc/sysusers.d/lobsterd.conf";
export const tmpfilesPath = "/etc/tmpfiles.d/lobsterd-directories.conf";

/** Every file of a host outside of the release: path to text. The settings of the machine are those of `deploy/host`. */
export function hostFiles(instance: Instance, checkout: string): ReadonlyMap<string, string> {
  const settingsDir = join(checkout, "deploy/host");
  const settings = globSync("*.d/*.conf", { cwd: settingsDir }).sort();
  return new Map([
    ...[...unitFiles(instance)].map(([name, text]): [string, string] => [`${unitsDir}/${name}`, text]),
    [sysusersPath, sysusersText()],
    [tmpfilesPath, tmpfilesText(instance)],
    ...settings.map((path): [string, string] => [`/etc/${path}`, readFileSync(join(settingsDir, path), "utf8")]),
  ]);
}
