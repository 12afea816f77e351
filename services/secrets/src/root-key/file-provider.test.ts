import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, chownSync, linkSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { rootKeyProviderConforms } from "./conformance.ts";
import { openFileRootKey } from "./file-provider.ts";
import { makeRootKey } from "./make-root-key.ts";

rootKeyProviderConforms("file", () => {
  const directory = mkdtempSync(join(tmpdir(), "root-key-"));
  const path = join(directory, "root.key");
  makeRootKey(path);
  return {
    provider: openFileRootKey(path),
    takeAway: () => renameSync(path, `${path}.away`),
    putBack: () => renameSync(`${path}.away`, path),
    replace: () => {
      rmSync(path);
      makeRootKey(path);
    },
    dispose: () => rmSync(directory, { recursive: true }),
  };
});

async function detailOf(prepare: (path: string, directory: string) => void): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), "root-key-"));
  try {
    const path = join(directory, "root.key");
    makeRootKey(path);
    prepare(path, directory);
    const health = await openFileRootKey(path).health();
    return health.state === "ready" ? "ready" : `${health.state}: ${health.detail.replace(`${directory}/`, "")}`;
  } finally {
    rmSync(directory, { recursive: true });
  }
}

test("modes 0400 and 0600 are taken, every other one is refused", async () => {
  for (let mode = 0; mode <= 0o777; mode += 1) {
    const detail = await detailOf((path) => chmodSync(path, mode));
    const isPrivate = mode === 0o400 || mode === 0o600;
    // Without root, a file its owner cannot read is not even opened.
    const wanted = isPrivate
      ? /^ready$/
      : /^unsafe: root\.key has mode 0|^unavailable: root\.key cannot be opened: EACCES$/;
    assert.match(detail, wanted, `mode 0${mode.toString(8)}`);
  }
});

test("a file of another size, a link, a directory, a FIFO and a placeholder are refused", async () => {
  assert.match(await detailOf((path) => rewrite(path, 31)), /^unsafe: root\.key has 31 bytes, must have 32$/);
  assert.match(await detailOf((path) => rewrite(path, 33)), /^unsafe: root\.key has 33 bytes, must have 32$/);
  assert.match(await detailOf((path) => rewrite(path, 32)), /^unsafe: root\.key does not hold a random key$/);
  const linked = await detailOf((path, directory) => {
    renameSync(path, join(directory, "elsewhere"));
    symlinkSync(join(directory, "elsewhere"), path);
  });
  assert.equal(linked, "unsafe: root.key is a symbolic link");
  const fifo = await detailOf((path) => {
    rmSync(path);
    execFileSync("mkfifo", ["-m", "600", path], { timeout: 5000 });
  });
  assert.equal(fifo, "unsafe: root.key is not a regular file");
  assert.match(await detailOf((path) => rmSync(path)), /^unavailable: root\.key cannot be opened: ENOENT$/);
});

test("a file of another owner is refused", { skip: process.getuid?.() === 0 ? false : "needs root" }, async () => {
  assert.match(
    await detailOf((path) => chownSync(path, 12345, 0)),
    /^unsafe: root\.key is owned by uid 12345, must be 0$/,
  );
});

test("a root key is never overwritten", () => {
  const directory = mkdtempSync(join(tmpdir(), "root-key-"));
  try {
    const path = join(directory, "root.key");
    makeRootKey(path);
    assert.throws(() => makeRootKey(path), /EEXIST/);
    linkSync(path, join(directory, "second-name"));
    assert.throws(() => makeRootKey(join(directory, "second-name")), /EEXIST/);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

function rewrite(path: string, bytes: number): void {
  chmodSync(path, 0o600);
  writeFileSync(path, Buffer.alloc(bytes, "k"));
}
