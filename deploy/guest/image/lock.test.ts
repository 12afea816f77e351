import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { imagePackages } from "./archive.ts";
import { attackerFiles, packageFiles } from "./contents.ts";
import { LockMismatchError, parseLock, readLock, readVerified, sha256Hex } from "./lock.ts";

test("a file with one flipped bit is not returned", async (t) => {
  const directory = await mkdtemp(join(tmpdir(), "lobsterd-lock-"));
  t.after(() => rm(directory, { recursive: true }));
  const content = Buffer.from("package");
  const path = join(directory, "package.deb");
  await writeFile(path, content);
  assert.deepEqual(await readVerified(path, "package", sha256Hex(content)), content);
  const flipped = Buffer.from(content);
  flipped[3] = (flipped[3] ?? 0) ^ 1;
  await writeFile(path, flipped);
  await assert.rejects(readVerified(path, "package", sha256Hex(content)), LockMismatchError);
});

test("an entry without a digest is not a lock", () => {
  const node = { version: "24.0.0", sha256: "0".repeat(64) };
  const unpinned = { name: "dash", version: "1", sha256: "" };
  assert.throws(() => parseLock(JSON.stringify({ kernelRelease: "x", packages: [unpinned], node })), LockMismatchError);
  assert.throws(
    () => parseLock(JSON.stringify({ kernelRelease: "x", packages: [], node: { ...node, version: "" } })),
    LockMismatchError,
  );
});

test("the committed lock pins every package that the image takes files from", async () => {
  const lock = await readLock();
  const locked = new Set(lock.packages.map((entry) => entry.name));
  for (const name of imagePackages) assert.ok(locked.has(name), name);
  for (const file of [...packageFiles, ...attackerFiles]) assert.ok(locked.has(file.package), file.package);
  assert.ok(locked.has(`linux-image-${lock.kernelRelease}`));
});
