import { createHash } from "node:crypto";
import {
  createReadStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { run } from "./command.ts";
import { apt, updatePackageLists } from "./packages.ts";

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const lockSchema = z.strictObject({
  architecture: z.literal("amd64"),
  packages: z
    .array(
      z.strictObject({
        name: z.string().regex(/^[a-z0-9][a-z0-9.+-]+$/),
        version: z.string().regex(/^[0-9A-Za-z.+:~-]+$/),
        sha256,
        /** Path in the package, without a leading slash, to the digest of the file. */
        programs: z.record(z.string().regex(/^usr\/s?bin\/[a-z-]+$/), sha256),
      }),
    )
    .min(1),
});
type Lock = z.infer<typeof lockSchema>;
type LockedPackage = Lock["packages"][number];

const lockPath = fileURLToPath(new URL("./debian.lock.json", import.meta.url));
/** What only the tests of dashboards and alert rules need: 19 MB that `make up` does without. */
export const observabilityLockPath = fileURLToPath(new URL("../observability/debian.lock.json", import.meta.url));
export const refreshCommand = "node deploy/dev/main.ts lock";

/** The locked packages. */
export function readLock(path: string = lockPath): Lock {
  return lockSchema.parse(JSON.parse(readFileSync(path, "utf8")));
}

/** Where a locked program is once `fetchPrograms` has run, seen from the root of the checkout. */
export function programPath(root: string, program: "caddy" | "nats-server" | "prometheus" | "promtool"): string {
  return `${root}/.cache/debian/root/usr/${program === "nats-server" ? "sbin" : "bin"}/${program}`;
}

/**
 * Brings the locked programs of a lock file, by default those of the stack, to `<checkout>/.cache/debian/root`, without installing their packages, and compares every
 * program with the lock. Programs that are there and right are left alone. Throws if the archive or the cache holds
 * anything else than what is locked.
 */
export async function fetchPrograms(
  checkout: string,
  progress: (line: string) => void = () => undefined,
  path: string = lockPath,
): Promise<string[]> {
  const cache = `${checkout}/.cache/debian`;
  const fetched: string[] = [];
  for (const locked of readLock(path).packages) {
    if (await hasPrograms(`${cache}/root`, locked)) continue;
    progress(`fetching ${locked.name} ${locked.version}`);
    await fetchPackage(cache, locked, progress);
    fetched.push(locked.name);
  }
  return fetched;
}

/** Writes both locks anew from what the archive offers now. A change is for a person to review and commit. */
export async function refreshLock(checkout: string, progress: (line: string) => void): Promise<void> {
  await updatePackageLists(progress);
  for (const path of [lockPath, observabilityLockPath]) await refreshFile(path, checkout, progress);
}

async function refreshFile(path: string, checkout: string, progress: (line: string) => void): Promise<void> {
  const packages: LockedPackage[] = [];
  for (const { name, programs } of readLock(path).packages) {
    const work = makeWorkDirectory(`${checkout}/.cache/debian`);
    try {
      const file = await download(work, name);
      await run(["dpkg-deb", "--extract", file, `${work}/root`], { timeoutMs: 120_000 });
      const { stdout } = await run(["dpkg-deb", "--field", file, "Version"]);
      const digests: Record<string, string> = {};
      for (const program of Object.keys(programs)) digests[program] = await digestOf(`${work}/root/${program}`);
      packages.push({ name, version: stdout.trim(), sha256: await digestOf(file), programs: digests });
      progress(`${name} ${stdout.trim()}`);
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
  }
  writeFileSync(path, `${JSON.stringify({ architecture: "amd64", packages } satisfies Lock, undefined, 2)}\n`);
}

async function fetchPackage(cache: string, locked: LockedPackage, progress: (line: string) => void): Promise<void> {
  const work = makeWorkDirectory(cache);
  try {
    const file = await downloadLocked(work, locked, progress);
    const actual = await digestOf(file);
    if (actual !== locked.sha256) {
      throw new Error(
        `${locked.name} ${locked.version} has SHA-256 ${actual}, the lock says ${locked.sha256}; it is not used`,
      );
    }
    await run(["dpkg-deb", "--extract", file, `${work}/root`], { timeoutMs: 120_000 });
    for (const [path, digest] of Object.entries(locked.programs)) {
      if ((await digestOf(`${work}/root/${path}`)) !== digest)
        throw new Error(`${path} of ${locked.name} differs from the lock`);
      const target = `${cache}/root/${path}`;
      mkdirSync(dirname(target), { recursive: true, mode: 0o755 });
      // Renamed into place, so that a program in use is replaced and never written to.
      renameSync(`${work}/root/${path}`, target);
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

async function downloadLocked(work: string, locked: LockedPackage, progress: (line: string) => void): Promise<string> {
  const wanted = `${locked.name}=${locked.version}`;
  try {
    return await download(work, wanted);
  } catch {
    // Stale or absent package lists look the same as a version that is gone, until they are fresh.
    await updatePackageLists(progress);
  }
  try {
    return await download(work, wanted);
  } catch (error) {
    throw new Error(
      `${wanted} cannot be had from the distribution's archive; if it was replaced there, \`${refreshCommand}\` locks the version that the archive has now`,
      { cause: error },
    );
  }
}

/** Downloads into `work`, which is private to root, and returns the file. */
async function download(work: string, wanted: string): Promise<string> {
  await apt(["apt-get", "download", "--quiet", "-o", "APT::Sandbox::User=root", wanted], false, work);
  const files = readdirSync(work).filter((name) => name.endsWith(".deb"));
  const [file] = files;
  if (file === undefined || files.length !== 1)
    throw new Error(`apt-get download ${wanted} left ${files.length} files`);
  return `${work}/${file}`;
}

function makeWorkDirectory(cache: string): string {
  mkdirSync(cache, { recursive: true, mode: 0o755 });
  return mkdtempSync(`${cache}/download-`);
}

async function hasPrograms(root: string, locked: LockedPackage): Promise<boolean> {
  for (const [path, digest] of Object.entries(locked.programs)) {
    if (!existsSync(`${root}/${path}`) || (await digestOf(`${root}/${path}`)) !== digest) return false;
  }
  return true;
}

async function digestOf(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path, { highWaterMark: 1024 * 1024 }), hash);
  return hash.digest("hex");
}
