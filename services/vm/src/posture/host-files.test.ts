/** Both readers of a host answer alike: what the fake says is what the real one says of the same files. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { type HostFiles, openHostFiles } from "./host-files.ts";
import { readKnownVersions, shippedVersionsPath } from "./known-versions.ts";
import { createHostTree } from "./testing/host-tree.ts";

const root = mkdtempSync(join(tmpdir(), "lobsterd-host-files-"));
after(() => rmSync(root, { recursive: true }));
mkdirSync(join(root, "etc/empty"), { recursive: true });
writeFileSync(join(root, "etc/one"), " text\nmore\n\n");
chmodSync(join(root, "etc/one"), 0o640);
symlinkSync("one", join(root, "etc/link"));

const readers: ReadonlyArray<readonly [string, HostFiles]> = [
  ["files", openHostFiles(root)],
  [
    "tree",
    createHostTree({
      "/etc/one": { text: " text\nmore\n\n", mode: 0o640 },
      "/etc/link": { link: "one" },
      "/etc/empty": { kind: "directory" },
    }),
  ],
];

for (const [name, files] of readers) {
  test(`${name}: text, names, status and links`, async () => {
    assert.deepEqual(await files.text("/etc/one"), { ok: true, value: "text\nmore" });
    assert.deepEqual(await files.names("/etc"), { ok: true, value: ["empty", "link", "one"] });
    const status = await files.status("/etc/one");
    assert.ok(status.ok);
    assert.deepEqual([status.value.kind, status.value.mode], ["file", 0o640]);
    const link = await files.status("/etc/link");
    assert.ok(link.ok && link.value.kind === "link", "a link is not followed");
    assert.deepEqual(await files.link("/etc/link"), { ok: true, value: "one" });
    const directory = await files.status("/etc/empty");
    assert.ok(directory.ok && directory.value.kind === "directory");
  });

  test(`${name}: what is missing or something else is a reading that failed`, async () => {
    const { text, names, status, link, fileSystemType } = files;
    for (const read of [text, names, status, link, fileSystemType]) {
      const reading = await read("/etc/none");
      assert.ok(!reading.ok && reading.cause === "missing" && reading.why.includes("/etc/none"));
    }
    assert.equal((await files.text("/etc/empty")).ok, false, "a directory has no text");
    assert.equal((await files.link("/etc/one")).ok, false, "a file points nowhere");
  });
}

test("a FIFO and a file without end hold nobody up", async () => {
  execFileSync("mkfifo", [join(root, "etc/fifo")]);
  writeFileSync(join(root, "etc/large"), "");
  truncateSync(join(root, "etc/large"), 4 * 1024 * 1024 + 1);
  const files = openHostFiles(root);
  for (const path of ["/etc/fifo", "/etc/large", "/etc"]) {
    const reading = await files.text(path);
    assert.ok(!reading.ok && reading.cause === "unfit", path);
  }
});

test("the magic number of proc is what statfs says", async () => {
  assert.deepEqual(await openHostFiles().fileSystemType("/proc"), { ok: true, value: 0x9fa0 });
});

test("the shipped table of known versions is well formed; another file is not taken for one", async () => {
  const shipped = await readKnownVersions(openHostFiles(), shippedVersionsPath);
  assert.ok(shipped.ok, shipped.ok ? "" : shipped.why);
  const branches = shipped.value.kernelBranches.map(({ branch }) => branch);
  assert.deepEqual(branches.sort(), ["5.10", "6.1", "6.18"]);
  for (const text of ["", "{}", "null", JSON.stringify({ ...shipped.value, reviewed: "lately" })]) {
    assert.equal((await readKnownVersions(createHostTree({ "/t": text }), "/t")).ok, false, text);
  }
});
