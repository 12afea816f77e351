import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { writePrivate } from "./files.ts";

const directory = mkdtempSync(join(tmpdir(), "lobsterd-files-"));
after(() => rmSync(directory, { recursive: true }));
const self = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
/** No user: chown refuses it, to root as well. */
const nobody = { uid: -2, gid: -2 };

test("a private file has its mode, whatever the umask leaves", () => {
  const path = join(directory, "key");
  for (const umask of [0o000, 0o022, 0o077]) {
    const previous = process.umask(umask);
    writePrivate(path, "key", self, 0o640);
    process.umask(previous);
    assert.equal(statSync(path).mode & 0o7777, 0o640);
  }
});

test("a file whose owner cannot be set is not there, in no form", () => {
  assert.throws(() => writePrivate(join(directory, "failed"), "key", nobody, 0o640));
  assert.deepEqual(readdirSync(directory), ["key"]);
});

test("a file that cannot be replaced is what it was", () => {
  const path = join(directory, "key");
  assert.throws(() => writePrivate(path, "other", nobody, 0o640));
  assert.equal(readFileSync(path, "utf8"), "key");
  assert.deepEqual(readdirSync(directory), ["key"]);
});
