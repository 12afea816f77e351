import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { checkedConfigSchema } from "../config.ts";
import { rootKeyProviderConforms } from "./conformance.ts";
import { environmentRootKeys } from "./environment-source.ts";
import { localRootKey } from "./local-provider.ts";
import { openTenantShards } from "./tenant-shards.ts";

const newKey = () => randomBytes(32).toString("base64");

rootKeyProviderConforms("environment", () => {
  const shardsDir = mkdtempSync(join(tmpdir(), "shards-"));
  const variables = new Map([["ROOT_KEY", newKey()]]);
  let away: string | undefined;
  const open = () =>
    localRootKey(
      environmentRootKeys((name) => variables.get(name), "ROOT_KEY"),
      openTenantShards(shardsDir),
    );
  return {
    provider: open(),
    takeAway: () => {
      away = variables.get("ROOT_KEY");
      variables.delete("ROOT_KEY");
    },
    putBack: () => variables.set("ROOT_KEY", away ?? ""),
    replace: () => variables.set("ROOT_KEY", newKey()),
    prepareRotation: () => variables.set("ROOT_KEY_NEXT", newKey()),
    reopen: open,
    dispose: () => rmSync(shardsDir, { recursive: true }),
  };
});

test("a value that is no random key of 32 bytes is refused", async () => {
  const shardsDir = mkdtempSync(join(tmpdir(), "shards-"));
  try {
    const healthOf = async (value: string) =>
      (
        await localRootKey(
          environmentRootKeys(() => value, "ROOT_KEY"),
          openTenantShards(shardsDir),
        ).health()
      ).state;
    assert.equal(await healthOf(newKey()), "ready");
    for (const value of [
      "",
      "changeme",
      Buffer.alloc(32, "k").toString("base64"),
      randomBytes(31).toString("base64"),
      randomBytes(32).toString("hex"),
    ]) {
      assert.equal(await healthOf(value), "unsafe", value);
    }
    const source = environmentRootKeys((name) => (name === "ROOT_KEY" ? newKey() : undefined), "ROOT_KEY");
    const rotated = localRootKey(source, openTenantShards(shardsDir)).beginRotation();
    assert.equal(await rotated.then(() => "OK", reasonOf), "NEXT_ROOT_KEY_MISSING");
  } finally {
    rmSync(shardsDir, { recursive: true });
  }
});

test("production mode, which is the default, refuses a root key in the environment", () => {
  const faults = (rootKey: object, mode?: string) =>
    checkedConfigSchema
      .safeParse({ ...minimal, rootKey, ...(mode === undefined ? {} : { mode }) })
      .error?.issues.map(({ path }) => path.join(".")) ?? [];
  const environment = { kind: "environment", variable: "ROOT_KEY", shardsDir: "/shards" };
  assert.deepEqual(faults(environment), ["rootKey.kind"]);
  assert.deepEqual(faults(environment, "production"), ["rootKey.kind"]);
  assert.deepEqual(faults(environment, "development"), []);
  assert.deepEqual(faults({ kind: "file", path: "/root.key", shardsDir: "/shards" }), []);
  const vault = { kind: "vault-transit", caPath: "/ca.pem", tokenPath: "/token", keyName: "lobsterd" };
  assert.deepEqual(faults({ ...vault, address: "https://vault.internal:8200" }), []);
  assert.deepEqual(faults({ ...vault, address: "http://vault.internal:8200" }), ["rootKey.address"]);
});

const minimal = {
  ...{ service: "secrets", hostId: "host-1", trustDomain: "dev.test", listen: { unixPath: "/run/rpc.sock" } },
  tls: { certificatePath: "/c.pem", keyPath: "/k.pem", platformCaPath: "/ca.pem" },
  ...{
    stateDir: "/state",
    rolesPath: "/roles.json",
    revocationsPath: "/revocations.json",
    guestCaCertificatePath: "/g.pem",
    guestCaKeyPath: "/gk.pem",
  },
  peers: { audit: "/audit.sock" },
};
