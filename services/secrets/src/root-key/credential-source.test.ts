import assert from "node:assert/strict";
import { chmodSync, chownSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { rootKeyProviderConforms } from "./conformance.ts";
import { credentialRootKeys } from "./credential-source.ts";
import { localRootKey } from "./local-provider.ts";
import { makeRootKey } from "./make-root-key.ts";
import { openTenantShards } from "./tenant-shards.ts";

const name = "lobsterd-root";
const isRoot = process.getuid?.() === 0;

function makePlace() {
  const directory = mkdtempSync(join(tmpdir(), "credentials-"));
  const credentials = join(directory, "credentials");
  const shardsDir = join(directory, "tenants");
  for (const made of [credentials, shardsDir]) mkdirSync(made, { mode: 0o700 });
  const path = join(credentials, name);
  makeRootKey(path);
  const open = () => localRootKey(credentialRootKeys(credentials, name), openTenantShards(shardsDir));
  return { directory, path, shardsDir, open };
}

rootKeyProviderConforms("systemd credential", () => {
  const { directory, path, open } = makePlace();
  return {
    provider: open(),
    takeAway: () => renameSync(path, `${path}.away`),
    putBack: () => renameSync(`${path}.away`, path),
    replace: () => {
      rmSync(path);
      makeRootKey(path);
    },
    prepareRotation: () => makeRootKey(`${path}-next`),
    reopen: open,
    dispose: () => rmSync(directory, { recursive: true }),
  };
});

test("a credential is taken with the modes that systemd gives it, and with no other", async () => {
  const { directory, path, open } = makePlace();
  try {
    for (let mode = 0; mode <= 0o777; mode += 1) {
      chmodSync(path, mode);
      const { state } = await open().health();
      const isTaken = isRoot ? [0o400, 0o440].includes(mode) : [0o400, 0o600].includes(mode);
      // Without root, a file its owner cannot read is not even opened.
      assert.equal(state === "ready", isTaken, `mode 0${mode.toString(8)} is ${state}`);
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("a credential of another user or group than root's is refused", {
  skip: isRoot ? false : "needs root",
}, async () => {
  const { directory, path, open } = makePlace();
  try {
    chmodSync(path, 0o440);
    for (const [uid, gid] of [
      [12345, 0],
      [0, 12345],
    ] as const) {
      chownSync(path, uid, gid);
      assert.equal((await open().health()).state, "unsafe", `${uid}:${gid}`);
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("outside of a unit there is no root key, and no rotation without the next credential", async () => {
  const { directory, shardsDir, open } = makePlace();
  try {
    const outside = localRootKey(credentialRootKeys(undefined, name), openTenantShards(shardsDir));
    assert.equal((await outside.health()).state, "unavailable");
    const target = { tenant: "demo", tenantKeyId: "ab".repeat(16) };
    assert.equal(await outside.create(target).then(() => "OK", reasonOf), "ROOT_KEY_UNAVAILABLE");
    assert.equal(
      await open()
        .beginRotation()
        .then(() => "OK", reasonOf),
      "NEXT_ROOT_KEY_MISSING",
    );
  } finally {
    rmSync(directory, { recursive: true });
  }
});
