import assert from "node:assert/strict";
import { lstat, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { attackerFiles, coreutils } from "./contents.ts";
import { buildImage } from "./image.ts";
import { sha256Hex } from "./lock.ts";
import { artifactNames, type ImageName, type Manifest } from "./manifest.ts";
import { runTool } from "./tool.ts";

const repository = new URL("../../..", import.meta.url).pathname;

/** Every executable that a guest may hold. A file that is not here fails the test: the list is not of bad names. */
const allowedPrograms = [...coreutils.bin, ...coreutils["usr/bin"], "dash", "node", "setsid", "tini"].map(
  (name) => `usr/bin/${name}`,
);
/**
 * The loader is executable because the kernel runs it; a workload that calls it by hand gains nothing. The agent's own two programs
 * are in its directory, which only root can enter.
 */
const allowedExecutables = new Set([
  ...allowedPrograms,
  "opt/agent/standby-calls",
  "opt/agent/unlock-terminal",
  "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
]);

let work = "";
before(async () => {
  work = await mkdtemp("/tmp/lobsterd-image-test-");
});
after(() => rm(work, { recursive: true, force: true }));

async function build(name: ImageName, out: string): Promise<string> {
  await buildImage(name, { out: join(work, out), repository, force: true, progress: () => undefined });
  return join(work, out, name);
}

let trees = 0;
async function unpack(image: string): Promise<string> {
  const tree = join(work, `tree-${++trees}`);
  await runTool(["fsck.erofs", `--extract=${tree}`, join(image, "rootfs.erofs")]);
  return tree;
}

test("two builds in different places give the same bytes, and the manifest has their digests", async () => {
  const first = await build("base", "first");
  const mask = process.umask(0o077);
  // A memory file system lists directories in another order than a disk.
  const temporary = process.env.TMPDIR;
  process.env.TMPDIR = "/dev/shm";
  let second = "";
  try {
    second = await build("base", "second");
  } finally {
    process.umask(mask);
    if (temporary === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = temporary;
  }
  const manifest = JSON.parse(await readFile(join(first, "manifest.json"), "utf8")) as Manifest;
  for (const name of artifactNames) {
    const bytes = await readFile(join(first, name));
    assert.ok(bytes.equals(await readFile(join(second, name))), `${name} differs`);
    assert.equal(manifest.sha256[name], sha256Hex(bytes), name);
  }
});

/** Every path below `root`, links not followed. */
async function walk(root: string, below = ""): Promise<string[]> {
  const entries = await readdir(join(root, below), { withFileTypes: true });
  const paths: string[] = [];
  for (const entry of entries) {
    const path = join(below, entry.name);
    paths.push(path, ...(entry.isDirectory() ? await walk(root, path) : []));
  }
  return paths;
}

test("the image holds no executable beyond the allow-list, nothing setuid, and no device", async () => {
  const tree = await unpack(join(work, "first/base"));
  const executables: string[] = [];
  for (const path of await walk(tree)) {
    const state = await lstat(join(tree, path));
    assert.equal(state.mode & 0o6000, 0, `${path} is setuid or setgid`);
    assert.ok(state.isFile() || state.isDirectory() || state.isSymbolicLink(), `${path} is a special file`);
    if (!state.isSymbolicLink()) assert.equal(state.uid, 0, `${path} does not belong to root`);
    const shared = path === "tmp" || path === "var/tmp";
    if (!state.isSymbolicLink() && !shared) assert.equal(state.mode & 0o022, 0, `${path} is writable for others`);
    if (state.isFile() && (state.mode & 0o111) !== 0) executables.push(path);
  }
  assert.deepEqual(executables.sort(), [...allowedExecutables].sort());
});

test("accounts have no password and the agent is root's own", async () => {
  const tree = await unpack(join(work, "second/base"));
  const accounts = (await readFile(join(tree, "etc/shadow"), "utf8")).trim().split("\n");
  assert.deepEqual(accounts.map((line) => line.split(":").slice(0, 2).join(":")).sort(), ["root:*", "workload:*"]);
  assert.equal((await lstat(join(tree, "etc/shadow"))).mode & 0o777, 0o600);
  assert.equal((await lstat(join(tree, "opt/agent"))).mode & 0o777, 0o700);
  assert.equal((await lstat(join(tree, "opt/agent/agent.js"))).mode & 0o777, 0o400);
  for (const program of ["standby-calls", "unlock-terminal"])
    assert.equal((await lstat(join(tree, "opt/agent", program))).mode & 0o777, 0o500);
});

test("what lets tests run commands is in the probe image only", async () => {
  const baseTree = await unpack(join(work, "first/base"));
  const base = await readFile(join(baseTree, "opt/workload/workload.js"), "utf8");
  const probeTree = await unpack(await build("probe", "third"));
  const probe = await readFile(join(probeTree, "opt/workload/workload.js"), "utf8");
  assert.ok(probe.includes("child_process"));
  assert.ok(!base.includes("child_process"));
  for (const { to } of attackerFiles) {
    assert.ok((await lstat(join(probeTree, to))).isFile(), `${to} is not in probe`);
    await assert.rejects(lstat(join(baseTree, to)), `${to} is in base`);
  }
});

test("only the probe image's workload is root", async () => {
  for (const [tree, uid] of [
    [await unpack(join(work, "first/base")), 1000],
    [await unpack(join(work, "third/probe")), 0],
  ] as const) {
    const { user } = JSON.parse(await readFile(join(tree, "opt/agent/workload.json"), "utf8")) as Manifest["workload"];
    assert.deepEqual(user, { uid, gid: uid });
  }
});
