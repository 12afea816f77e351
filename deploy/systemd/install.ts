import { createHash } from "node:crypto";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { z } from "zod";
import { applicationRoot, currentRelease } from "./host-instance.ts";
import { copyRelease } from "./release.ts";

const recordSchema = z.strictObject({
  release: z.string().regex(/^[0-9a-f]{16}$/),
  previous: z
    .string()
    .regex(/^[0-9a-f]{16}$/)
    .optional(),
  /** Path on the host to the SHA-256 of what was written there; while an upgrade runs, of what it replaces as well. */
  files: z.record(z.string().startsWith("/etc/"), z.array(z.string().regex(/^[0-9a-f]{64}$/)).min(1)),
  /** Directories that an installation made, and that are removed when they are empty. */
  directories: z.array(z.string().startsWith("/")),
});
/** What is installed, as `<root>/opt/lobsterd/installed.json` has it. */
export type InstallRecord = z.infer<typeof recordSchema>;

export interface Installation {
  /** Where `/` of the host is: empty on the host itself, a directory for a package (`DESTDIR`). */
  readonly root: string;
  readonly checkout: string;
  /** Files and directories of the checkout that the host needs. */
  readonly sources: readonly string[];
  /** Further files of the release: path in it to text. */
  readonly extra: ReadonlyMap<string, string>;
  /** Files outside of the release: path on the host to text. */
  readonly files: ReadonlyMap<string, string>;
}

/** Files in the way of an installation. Nothing was changed. */
export class InTheWayError extends Error {
  override readonly name = "InTheWayError";
}

const releasesDir = `${applicationRoot}/releases`;
const recordPath = `${applicationRoot}/installed.json`;

/** What is installed below `root`, if anything is. Throws for a record that this program did not write. */
export function readRecord(root: string): InstallRecord | undefined {
  const path = join(root, recordPath);
  return existsSync(path) ? recordSchema.parse(JSON.parse(readFileSync(path, "utf8"))) : undefined;
}

/**
 * Installs or upgrades, and returns the new record. Safe to repeat, and after a crash at any point. The release before this one stays, because
 * a process that was started from it may still load code. Throws InTheWayError for a file that somebody else wrote or changed.
 */
export function install({ root, checkout, sources, extra, files }: Installation): InstallRecord {
  const before = readRecord(root);
  refuseForeign(root, files, before);
  const directories = new Set(before?.directories ?? []);
  for (const path of [releasesDir, ...[...files.keys()].map((file) => dirname(file))])
    makeParents(root, path, directories);
  for (const name of readdirSync(join(root, releasesDir)).filter((one) => one.startsWith(".draft-"))) {
    rmSync(join(root, releasesDir, name), { recursive: true });
  }
  const release = copyRelease(checkout, sources, extra, { releases: join(root, releasesDir), writeFile });
  const isNew = release !== before?.release;
  const previous = isNew ? before?.release : before?.previous;
  const digests = Object.fromEntries([...files].map(([path, text]) => [path, [digestOf(text)]]));
  const record: InstallRecord = {
    release,
    ...(previous === undefined ? {} : { previous }),
    files: digests,
    directories: [...directories],
  };
  // First with what is replaced: whatever files a crash leaves behind, the record knows them.
  const either = Object.entries(digests).map(([path, own]) => [path, [...own, ...(before?.files[path] ?? [])]]);
  writeFile(
    join(root, recordPath),
    recordText({ ...record, files: { ...before?.files, ...Object.fromEntries(either) } }),
  );
  for (const [path, text] of files) writeFile(join(root, path), text);
  switchTo(root, release);
  for (const path of Object.keys(before?.files ?? {})) {
    if (!files.has(path)) rmSync(join(root, path), { force: true });
  }
  writeFile(join(root, recordPath), recordText(record));
  for (const id of readdirSync(join(root, releasesDir))) {
    if (id !== release && id !== previous) rmSync(join(root, releasesDir, id), { recursive: true });
  }
  return record;
}

/**
 * Removes what was installed below `root` and nothing else. Returns the files that were changed since, which stay. State, keys and
 * configurations are not installed and are not touched. Safe to repeat.
 */
export function uninstall(root: string): string[] {
  const record = readRecord(root);
  if (record === undefined) return [];
  const kept: string[] = [];
  for (const [path, digests] of Object.entries(record.files)) {
    const there = contentOf(join(root, path));
    if (there === undefined) continue;
    if (digests.includes(digestOf(there))) rmSync(join(root, path));
    else kept.push(path);
  }
  rmSync(join(root, currentRelease), { force: true });
  rmSync(join(root, releasesDir), { recursive: true, force: true });
  rmSync(join(root, recordPath), { force: true });
  const innermostFirst = [...record.directories].sort((a, b) => b.length - a.length);
  for (const path of innermostFirst) removeIfEmpty(join(root, path));
  return kept;
}

/** A file of the same name is ours when the record says so, or when it says what we would write. */
function refuseForeign(root: string, files: ReadonlyMap<string, string>, record: InstallRecord | undefined): void {
  const paths = new Set([...files.keys(), ...Object.keys(record?.files ?? {})]);
  const foreign = [...paths].filter((path) => {
    const there = contentOf(join(root, path));
    if (there === undefined) return false;
    return record?.files[path]?.includes(digestOf(there)) !== true && there !== files.get(path);
  });
  if (foreign.length === 0) return;
  throw new InTheWayError(
    `not written by an installation, or changed since: ${foreign.join(", ")}\nMove changes to a drop-in (systemctl edit) or to a file that sorts later, then remove these.`,
  );
}

function switchTo(root: string, release: string): void {
  const link = join(root, currentRelease);
  const target = `releases/${release}`;
  if (lstatSync(link, { throwIfNoEntry: false })?.isSymbolicLink() === true && readlinkSync(link) === target) return;
  rmSync(`${link}.draft`, { force: true });
  symlinkSync(target, `${link}.draft`);
  renameSync(`${link}.draft`, link);
}

/** Makes the missing directories down to `path` and adds them to `made`, `/` of the host (the package's directory) included. */
function makeParents(root: string, path: string, made: Set<string>): void {
  const parts = path.split("/").filter(Boolean);
  const chain = ["/", ...parts.map((_, index) => `/${parts.slice(0, index + 1).join("/")}`)];
  for (const directory of chain) {
    const full = join(root, directory);
    if (lstatSync(full, { throwIfNoEntry: false }) !== undefined) continue;
    mkdirSync(full, { mode: 0o755 });
    chmodSync(full, 0o755);
    made.add(directory);
  }
}

function removeIfEmpty(path: string): void {
  if (existsSync(path) && readdirSync(path).length === 0) rmdirSync(path);
}

function writeFile(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  const draft = `${path}.draft`;
  rmSync(draft, { force: true });
  writeFileSync(draft, text, { flag: "wx", mode: 0o644, flush: true });
  chmodSync(draft, 0o644);
  renameSync(draft, path);
}

/** `undefined` when nothing is there; a link or a directory counts as content that is never ours. */
function contentOf(path: string): string | undefined {
  const status = lstatSync(path, { throwIfNoEntry: false });
  if (status === undefined) return undefined;
  return status.isFile() ? readFileSync(path, "utf8") : `not a file: ${path}`;
}

function digestOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

function recordText(record: InstallRecord): string {
  return `${JSON.stringify(record, undefined, 2)}\n`;
}
