import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { type LockedPackage, LockMismatchError, readVerified, updateLockCommand } from "./lock.ts";
import { runTool, ToolError } from "./tool.ts";

/** The Debian packages the guests are made of; the kernel's comes from `kernelPackage` because its name holds its version. */
export const imagePackages = [
  "busybox-static",
  "coreutils",
  "dash",
  "libacl1",
  "libattr1",
  "libc6",
  "libcrypt1",
  "libgcc-s1",
  "libpcre2-8-0",
  "libselinux1",
  "libstdc++6",
  "perl-base",
  "tini",
  "util-linux",
] as const;

/** The meta package that names the current security version of the cloud kernel. */
const kernelMetaPackage = "linux-image-cloud-amd64";
const kernelName = /^linux-image-(6\.1\.0-\d+-cloud-amd64)$/;
const asRoot = ["-o", "APT::Sandbox::User=root", "-o", "DPkg::Lock::Timeout=60"] as const;

export async function refreshArchiveIndex(): Promise<void> {
  await runTool(["apt-get", ...asRoot, "-q", "update"], { timeoutMs: 180_000 });
}

function field(record: string, name: string): string {
  const line = record.split("\n").find((candidate) => candidate.startsWith(`${name}: `));
  if (line === undefined) throw new Error(`the archive's record has no ${name}`);
  return line.slice(name.length + 2).trim();
}

/** The version that apt would install now, with the digest from the signed index. */
export async function offeredPackage(name: string): Promise<LockedPackage> {
  const record = (await runTool(["apt-cache", "show", "--no-all-versions", name])).split("\n\n")[0] ?? "";
  return { name, version: field(record, "Version"), sha256: field(record, "SHA256") };
}

/** The kernel that the archive offers now. */
export async function offeredKernel(): Promise<{ release: string; package: LockedPackage }> {
  const record = (await runTool(["apt-cache", "show", "--no-all-versions", kernelMetaPackage])).split("\n\n")[0] ?? "";
  for (const dependency of field(record, "Depends").split(/[,|]/)) {
    const name = dependency.trim().split(" ")[0] ?? "";
    const release = kernelName.exec(name)?.[1];
    if (release !== undefined) return { release, package: await offeredPackage(name) };
  }
  throw new Error(`${kernelMetaPackage} does not depend on a 6.1 cloud kernel`);
}

export function archiveFileName(entry: LockedPackage): string {
  return `${entry.name}_${entry.version.replaceAll(":", "%3a")}_amd64.deb`;
}

async function isOffered(entry: LockedPackage): Promise<boolean> {
  const table = await runTool(["apt-cache", "madison", entry.name]);
  return table.split("\n").some((line) => line.split("|")[1]?.trim() === entry.version);
}

async function downloadInto(directory: string, entry: LockedPackage): Promise<void> {
  const download = () =>
    runTool(["apt-get", ...asRoot, "-q", "download", `${entry.name}=${entry.version}`], { cwd: directory });
  try {
    await download();
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    // The local index may be older than the lock file, or absent as in a fresh container.
    await refreshArchiveIndex();
    if (!(await isOffered(entry))) {
      throw new LockMismatchError(
        `${entry.name} ${entry.version} is locked but the archive no longer offers it; run: ${updateLockCommand}`,
      );
    }
    await download();
  }
}

/** Makes sure that `directory` holds the locked package; downloads it when absent. Returns verified bytes' path. */
export async function fetchPackage(directory: string, entry: LockedPackage): Promise<string> {
  const path = join(directory, archiveFileName(entry));
  const present = (await readdir(directory)).includes(archiveFileName(entry));
  if (!present) {
    const incoming = join(directory, `incoming-${process.pid}-${entry.name}`);
    await mkdir(incoming);
    try {
      await downloadInto(incoming, entry);
      const [downloaded] = await readdir(incoming);
      if (downloaded === undefined) throw new Error(`apt-get left no file for ${entry.name}`);
      await readVerified(join(incoming, downloaded), entry.name, entry.sha256);
      await rename(join(incoming, downloaded), path);
    } finally {
      await rm(incoming, { recursive: true });
    }
  }
  await readVerified(path, entry.name, entry.sha256);
  return path;
}
