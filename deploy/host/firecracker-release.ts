import { createHash } from "node:crypto";
import {
  chmodSync,
  chownSync,
  createReadStream,
  createWriteStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { judge } from "@lobsterd/vm/launcher/artifacts/firecracker-versions.ts";
import type { ArtifactLock } from "@lobsterd/vm/launcher/artifacts/lock.ts";
import { requireRootOnly } from "@lobsterd/vm/launcher/files.ts";
import { run } from "../dev/command.ts";

const maxArchiveBytes = 64 * 1024 * 1024;
const maxSumBytes = 4096;
const downloadLimitMs = 5 * 60_000;
const releaseFile = "release.json";
const programs = ["firecracker", "jailer"] as const;

/** The release, or this machine, is not one that may be installed. Nothing was changed. */
export class ReleaseRefusedError extends Error {
  override readonly name = "ReleaseRefusedError";
}

export interface Installation {
  readonly lock: ArtifactLock;
  /** Where the programs go. Root alone may write it and everything above it. */
  readonly directory: string;
  /** An archive that is here already, instead of the release's download. */
  readonly archivePath?: string;
  /** Architecture of this machine as Node names it. */
  readonly architecture: string;
  /** Brings what is at `url` to `path`, at most `maxBytes` of it. */
  readonly download: (url: string, path: string, maxBytes: number) => Promise<void>;
  readonly progress: (line: string) => void;
}

/**
 * Installs the locked release: programs root 0755, in place at once or not at all. The archive is opened only after its digest was found right.
 * Throws ReleaseRefusedError for another digest, in the lock or as published, another architecture, an older release than is
 * installed, or a version that production must not run. Returns the directory.
 */
export async function installFirecracker(installation: Installation): Promise<string> {
  const { directory, lock, progress } = installation;
  requireInstallable(installation);
  mkdirSync(dirname(directory), { recursive: true, mode: 0o755 });
  requireRootOnly(dirname(directory));
  requireNoDowngrade(directory, lock.firecracker.version);
  // Made with mode 0700 and a random name: nobody else can put anything into it.
  const work = mkdtempSync(`${directory}.download-`);
  try {
    const archive = `${work}/release.tgz`;
    await fetchArchive(installation, archive);
    const draft = `${work}/programs`;
    await extractPrograms(lock, archive, draft);
    writeFileSync(`${draft}/${releaseFile}`, `${JSON.stringify({ version: lock.firecracker.version })}\n`);
    chmodSync(draft, 0o755);
    if (existsSync(directory)) renameSync(directory, `${work}/before`);
    renameSync(draft, directory);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  progress(`Firecracker ${lock.firecracker.version} and its jailer are in ${directory}, as locked`);
  return directory;
}

/** Downloads with a limit of time and size. */
export async function downloadFile(url: string, path: string, maxBytes: number): Promise<void> {
  const response = await fetch(url, { signal: AbortSignal.timeout(downloadLimitMs) });
  if (!response.ok || response.body === null) throw new Error(`${url} answered ${response.status}`);
  let received = 0;
  const bounded = async function* (chunks: AsyncIterable<Uint8Array>) {
    for await (const chunk of chunks) {
      received += chunk.length;
      if (received > maxBytes) throw new Error(`${url} is longer than ${maxBytes} bytes`);
      yield chunk;
    }
  };
  await pipeline(Readable.fromWeb(response.body), bounded, createWriteStream(path, { flags: "wx", mode: 0o600 }));
}

function requireInstallable({ lock, architecture }: Installation): void {
  const { version, architecture: locked } = lock.firecracker;
  const verdict = judge(version, { pci: false, production: true });
  if (!verdict.ok)
    throw new ReleaseRefusedError(`the lock file's Firecracker may not run in production: ${verdict.message}`);
  if (architecture !== "x64")
    throw new ReleaseRefusedError(`the lock file has programs for ${locked}, not ${architecture}`);
}

/** A lock file that went back, in a merge or a revert, must not bring an old defect back with it. */
function requireNoDowngrade(directory: string, version: string): void {
  const path = `${directory}/${releaseFile}`;
  if (!existsSync(path)) return;
  const installed = (JSON.parse(readFileSync(path, "utf8")) as { version?: unknown }).version;
  if (typeof installed === "string" && installed.localeCompare(version, "en", { numeric: true }) > 0) {
    throw new ReleaseRefusedError(
      `${installed} is installed, and the lock file's ${version} is older; remove ${directory} to go back`,
    );
  }
}

async function fetchArchive(installation: Installation, archive: string): Promise<void> {
  const { lock, archivePath, download, progress } = installation;
  const { archiveUrl, archiveSha256 } = lock.firecracker;
  if (archivePath === undefined) {
    progress(`downloading ${archiveUrl}`);
    await download(archiveUrl, archive, maxArchiveBytes);
    await download(`${archiveUrl}.sha256.txt`, `${archive}.sha256`, maxSumBytes);
    const published = /^([0-9a-f]{64})\b/.exec(readFileSync(`${archive}.sha256`, "utf8"))?.[1];
    if (published !== archiveSha256) {
      throw new ReleaseRefusedError(`the release publishes SHA-256 ${published}, the lock file says ${archiveSha256}`);
    }
  } else {
    progress("the archive is a file of yours: it is compared with the lock file, not with what the release publishes");
    await pipeline(createReadStream(archivePath), createWriteStream(archive, { flags: "wx", mode: 0o600 }));
  }
  const actual = await digestOf(archive);
  if (actual !== archiveSha256) {
    throw new ReleaseRefusedError(
      `the archive has SHA-256 ${actual}, the lock file says ${archiveSha256}; it was not opened`,
    );
  }
}

/** Takes the two programs out of the archive, by their exact names, and compares each with the lock. */
async function extractPrograms(lock: ArtifactLock, archive: string, draft: string): Promise<void> {
  const { version, architecture, sha256 } = lock.firecracker;
  const memberOf = (name: string) => `release-v${version}-${architecture}/${name}-v${version}-${architecture}`;
  mkdirSync(draft, { mode: 0o700 });
  const options = ["--no-same-owner", "--no-same-permissions", "--strip-components=1"];
  await run([
    "tar",
    "--extract",
    "--gzip",
    ...options,
    "--file",
    archive,
    "--directory",
    draft,
    ...programs.map(memberOf),
  ]);
  for (const name of programs) {
    const path = `${draft}/${name}`;
    renameSync(`${draft}/${name}-v${version}-${architecture}`, path);
    const actual = await digestOf(path);
    if (actual !== sha256[name]) {
      throw new ReleaseRefusedError(`${name} has SHA-256 ${actual}, the lock file says ${sha256[name]}`);
    }
    chownSync(path, 0, 0);
    chmodSync(path, 0o755);
  }
}

async function digestOf(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path, { highWaterMark: 1024 * 1024 }), hash);
  return hash.digest("hex");
}
