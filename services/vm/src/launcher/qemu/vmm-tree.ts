import { chmodSync, copyFileSync, existsSync, mkdirSync, readdirSync, realpathSync, renameSync } from "node:fs";
import { basename, dirname } from "node:path";
import type { FileDigests } from "../artifacts/file-digests.ts";
import { treeDigest } from "../artifacts/vmm-tree-digest.ts";
import type { LauncherConfig } from "../config.ts";
import { removeTree, requireRootOnly } from "../files.ts";
import { run } from "../processes.ts";
import { vmmPath } from "./command.ts";

/** Programs that jail.sh runs after the host's file system is gone. */
const setUpPrograms = ["/usr/bin/setpriv", "/usr/bin/umount"];
const firmware = ["bios-microvm.bin", "pvh.bin"];

/**
 * Copies exactly what the VMM needs (program, module, firmware, shared objects as the loader resolves them) into
 * `state/vmm/<digest>` and returns that directory: every jail mounts it read-only as its /usr. The digest is over the copies, and the
 * copies are what runs; it is compared again before each start. Trees of earlier versions are deleted; a running VMM keeps its own open.
 */
export async function buildVmmTree(
  { stateDir, vmm }: Pick<LauncherConfig, "stateDir" | "vmm">,
  digests: FileDigests,
): Promise<string> {
  const programs = [vmm.binaryPath, ...setUpPrograms, ...vmm.modulePaths];
  const libraries = [
    ...(await run(["/usr/bin/ldd", ...programs], 10_000)).matchAll(/(?:=> |^\t)(\/\S+) \(0x/gm),
  ].flatMap((match) => match[1] ?? []);
  const copies = new Map<string, string>([
    [vmmPath, vmm.binaryPath],
    ...setUpPrograms.map((path) => [path, path] as const),
    ...vmm.modulePaths.map((path) => [path, path] as const),
    ...firmware.map((name) => [`/usr/share/qemu/${name}`, `${vmm.firmwareDir}/${name}`] as const),
    ...libraries.map((path) => [path.startsWith("/usr/") ? path : `/usr${path}`, path] as const),
  ]);
  const base = `${stateDir}/vmm`;
  const building = `${base}/building`;
  mkdirSync(base, { recursive: true, mode: 0o755 });
  chmodSync(base, 0o755);
  removeTree(building);
  for (const [target, source] of copies) {
    requireRootOnly(realpathSync(source));
    const copy = `${building}${target.slice("/usr".length)}`;
    makeDirectories(dirname(copy));
    copyFileSync(source, copy);
    chmodSync(copy, 0o555);
  }
  const tree = `${base}/${await treeDigest(building, digests)}`;
  if (existsSync(tree)) removeTree(building);
  else renameSync(building, tree);
  for (const name of readdirSync(base)) if (name !== basename(tree)) removeTree(`${base}/${name}`);
  return tree;
}

/** With the launcher's umask a new directory would be closed to the jail's uid. */
function makeDirectories(path: string): void {
  if (existsSync(path)) return;
  makeDirectories(dirname(path));
  mkdirSync(path);
  chmodSync(path, 0o755);
}
