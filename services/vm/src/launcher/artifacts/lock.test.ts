import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { test } from "node:test";
import { readVersionTable } from "./firecracker-versions.ts";
import { firecrackerArtifacts, lockPath, readArtifactLock } from "./lock.ts";

const lock = readArtifactLock();
const mismatch = { reason: "ARTIFACT_MISMATCH" };

test("a lock of an older, a newer, a bad or an unpinned release is refused", () => {
  for (const version of ["1.16.0", "1.15.1", "1.14.0", "1.17.0", "1.16.1-dev", ""]) {
    const other = { firecracker: { ...lock.firecracker, version } };
    assert.throws(() => firecrackerArtifacts("/installed", other, readVersionTable(), "x64"), mismatch, version);
  }
  assert.throws(() => firecrackerArtifacts("/installed", lock, readVersionTable(), "arm64"), mismatch);
  assert.equal(firecrackerArtifacts("/installed", lock, readVersionTable(), "x64").label, "Firecracker 1.16.1");
});

test("a lock without a digest, with a short one, or with one of another program is no lock", () => {
  const text = readFileSync(lockPath, "utf8");
  const path = mkdtempSync(`${tmpdir()}/lobsterd-lock-`);
  try {
    const { firecracker, jailer } = lock.firecracker.sha256;
    for (const [from, to] of [
      [firecracker, ""],
      [jailer, jailer.slice(1)],
      ['"jailer"', '"other"'],
      [lock.firecracker.archiveSha256, "unknown"],
      ["https://github.com/firecracker-microvm/", "https://example.com/"],
    ] as const) {
      assert.ok(text.includes(from));
      writeFileSync(`${path}/lock.json`, text.replace(from, to));
      assert.throws(() => readArtifactLock(`${path}/lock.json`), `${from} as "${to}"`);
    }
  } finally {
    rmSync(path, { recursive: true });
  }
});
