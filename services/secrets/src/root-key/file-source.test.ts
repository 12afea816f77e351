import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { rootKeyProviderConforms } from "./conformance.ts";
import { fileRootKeys } from "./file-source.ts";
import { localRootKey } from "./local-provider.ts";
import { makeRootKey } from "./make-root-key.ts";
import { openTenantShards } from "./tenant-shards.ts";

interface Place {
  readonly directory: string;
  readonly path: string;
  readonly shardsDir: string;
}

function makePlace(): Place {
  const directory = mkdtempSync(join(tmpdir(), "root-key-"));
  const place = { directory, path: join(directory, "root.key"), shardsDir: join(directory, "tenants") };
  makeRootKey(place.path);
  mkdirSync(place.shardsDir, { mode: 0o700 });
  return place;
}

const providerAt = ({ path, shardsDir }: Place) => localRootKey(fileRootKeys(path), openTenantShards(shardsDir));

rootKeyProviderConforms("file", () => {
  const place = makePlace();
  const { directory, path } = place;
  return {
    provider: providerAt(place),
    takeAway: () => renameSync(path, `${path}.away`),
    putBack: () => renameSync(`${path}.away`, path),
    replace: () => {
      rmSync(path);
      makeRootKey(path);
    },
    prepareRotation: () => undefined,
    reopen: () => providerAt(place),
    dispose: () => rmSync(directory, { recursive: true }),
  };
});

test("a retired root key is gone: nothing opens what only it wrapped", async () => {
  const place = makePlace();
  try {
    const provider = providerAt(place);
    const target = { tenant: "demo", tenantKeyId: "ab".repeat(16) };
    const wrapped = await provider.create(target);
    const retired = readFileSync(place.path);
    linkSync(place.path, join(place.directory, "second-name"));
    await provider.beginRotation();
    await provider.rewrap(wrapped, target);
    await provider.finishRotation();
    const reason = await provider.unwrap(wrapped, target).then(() => "OK", reasonOf);
    assert.equal(reason, "ROOT_KEY_UNAVAILABLE");
    assert.deepEqual(
      readFileSync(join(place.directory, "second-name")),
      Buffer.alloc(32),
      "overwritten, not only renamed",
    );
    assert.notDeepEqual(readFileSync(place.path), retired);
    assert.equal(statSync(place.path).mode & 0o777, 0o400);
    assert.equal(existsSync(`${place.path}.next`), false);
  } finally {
    rmSync(place.directory, { recursive: true });
  }
});

test("a next key that a crash left half-written is made again, and a whole one is kept", async () => {
  const place = makePlace();
  try {
    writeFileSync(`${place.path}.next.unfinished`, "half", { mode: 0o400 });
    const { rootKeyId } = await providerAt(place).beginRotation();
    assert.equal((await providerAt(place).beginRotation()).rootKeyId, rootKeyId);
    assert.equal((await providerAt(place).health()).state, "ready");
  } finally {
    rmSync(place.directory, { recursive: true });
  }
});

test("shards that others can enter are refused, and ones that are away are no destroyed keys", async () => {
  const place = makePlace();
  try {
    const provider = providerAt(place);
    const target = { tenant: "demo", tenantKeyId: "ab".repeat(16) };
    const wrapped = await provider.create(target);
    const reason = () => provider.unwrap(wrapped, target).then(() => "OK", reasonOf);
    chmodSync(place.shardsDir, 0o750);
    assert.equal((await provider.health()).state, "unsafe");
    assert.equal(await reason(), "ROOT_KEY_UNAVAILABLE");
    chmodSync(place.shardsDir, 0o700);
    renameSync(place.shardsDir, `${place.shardsDir}.away`);
    assert.equal((await provider.health()).state, "unavailable");
    assert.equal(await reason(), "ROOT_KEY_UNAVAILABLE");
    assert.equal(await provider.destroy(target.tenantKeyId).then(() => "OK", reasonOf), "ROOT_KEY_UNAVAILABLE");
    renameSync(`${place.shardsDir}.away`, place.shardsDir);
    assert.equal(await reason(), "OK");
    linkSync(join(place.shardsDir, target.tenantKeyId), join(place.directory, "second-name"));
    await provider.destroy(target.tenantKeyId);
    assert.deepEqual(readFileSync(join(place.directory, "second-name")), Buffer.alloc(32));
  } finally {
    rmSync(place.directory, { recursive: true });
  }
});

async function detailOf(prepare: (path: string, directory: string) => void): Promise<string> {
  const place = makePlace();
  const { directory, path } = place;
  try {
    prepare(path, directory);
    const health = await providerAt(place).health();
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
