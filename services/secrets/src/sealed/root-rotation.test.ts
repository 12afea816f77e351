import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Secret } from "@lobsterd/chassis/secret.ts";
import { fileRootKeys } from "../root-key/file-source.ts";
import { localRootKey } from "../root-key/local-provider.ts";
import { makeRootKey } from "../root-key/make-root-key.ts";
import type { RootKeyProvider } from "../root-key/provider.ts";
import { openTenantShards } from "../root-key/tenant-shards.ts";
import { openSecretDatabase } from "../store/database.ts";
import { openRootRotationStore } from "../store/root-rotation-store.ts";
import { openSecretStore } from "../store/secret-store.ts";
import { openTenantKeyStore } from "../store/tenant-key-store.ts";
import { openRootRotation } from "./root-rotation.ts";
import { openSealedSecrets } from "./sealed-secrets.ts";
import { openTenantKeys } from "./tenant-keys.ts";

const root = mkdtempSync(join(tmpdir(), "rotation-"));
after(() => rmSync(root, { recursive: true }));
const now = () => 1;
const tenants = Array.from({ length: 12 }, (_, index) => `tenant-${index}`);

/** A place with a root key, and one sealed secret of each tenant, whose value is the tenant's name. */
async function makePlace(): Promise<string> {
  const directory = mkdtempSync(join(root, "place-"));
  makeRootKey(join(directory, "root.key"));
  mkdirSync(join(directory, "tenants"), { mode: 0o700 });
  const { sealed, close } = open(directory);
  for (const tenant of ["", ...tenants]) await sealed.put(tenant, "k", Secret.take(Buffer.from(`of ${tenant}`)));
  close();
  return directory;
}

/** Opens a place as a process that starts does; `instrument` may stand between it and its provider. */
function open(directory: string, instrument = (provider: RootKeyProvider) => provider) {
  const database = openSecretDatabase(join(directory, "secrets.sqlite"));
  const provider = instrument(
    localRootKey(fileRootKeys(join(directory, "root.key")), openTenantShards(join(directory, "tenants"))),
  );
  const keyStore = openTenantKeyStore(database);
  const secrets = openSecretStore(database);
  const keys = openTenantKeys(keyStore, provider, now);
  const sealed = openSealedSecrets({ database, keys, keyStore, secrets, now });
  const rotations = openRootRotationStore(database);
  const rotation = openRootRotation({ database, provider, keys, keyStore, rotations, now });
  return { database, provider, keyStore, sealed, rotation, close: () => database.close() };
}

type Place = ReturnType<typeof open>;

async function assertAllOpen({ sealed, keyStore }: Place): Promise<void> {
  for (const tenant of ["", ...tenants]) {
    await sealed.bind(tenant, "k", { target: { kind: "environment", variable: "K" }, label: undefined });
    assert.ok(keyStore.find(tenant));
  }
  for (const tenant of tenants) {
    const [opened] = await sealed.openForGuest(tenant, {});
    assert.equal(
      opened?.value.use((bytes) => Buffer.from(bytes).toString()),
      `of ${tenant}`,
    );
    opened?.value.destroy();
  }
}

test("a rotation wraps every tenant's key anew, and touches no secret", async () => {
  const directory = await makePlace();
  const place = open(directory);
  const secretRows = () =>
    JSON.stringify(
      place.database.prepare("SELECT hex(ciphertext), hex(wrapped_data_key) FROM secret ORDER BY 1").all(),
    );
  const before = secretRows();
  const rotated = await place.rotation.rotate();
  assert.equal(rotated.rewrappedCount, tenants.length + 1);
  assert.equal(secretRows(), before);
  assert.deepEqual(place.keyStore.listNotUnder(rotated.rootKeyId, undefined, 100), []);
  assert.equal(await place.rotation.resume(), undefined);
  await assertAllOpen(place);
  place.close();
  const again = open(directory);
  await assertAllOpen(again);
  const second = await again.rotation.rotate();
  assert.equal(second.previousRootKeyId, rotated.rootKeyId);
  await assertAllOpen(again);
  again.close();
});

class Crash extends Error {}

/** A provider whose process dies before or after the `count`-th call that changes something. */
function dyingAt(count: number, when: "before" | "after") {
  let calls = 0;
  return (provider: RootKeyProvider): RootKeyProvider => {
    const dying =
      <Rest extends readonly unknown[], Result>(call: (...rest: Rest) => Promise<Result>) =>
      async (...rest: Rest): Promise<Result> => {
        calls += 1;
        const isLast = calls === count;
        if (isLast && when === "before") throw new Crash();
        const result = await call(...rest);
        if (isLast) throw new Crash();
        return result;
      };
    return {
      ...provider,
      beginRotation: dying(provider.beginRotation),
      rewrap: dying(provider.rewrap),
      finishRotation: dying(provider.finishRotation),
    };
  };
}

test("killed before or after any step, every tenant's key opens at the next start, and the rotation ends", async () => {
  const steps = tenants.length + 3;
  for (let count = 1; count <= steps; count += 1) {
    for (const when of ["before", "after"] as const) {
      const what = `${when} step ${count}`;
      const directory = await makePlace();
      const dying = open(directory, dyingAt(count, when));
      await assert.rejects(dying.rotation.rotate(), Crash, what);
      dying.close();

      const started = open(directory);
      await assertAllOpen(started);
      // A crash before the note that a rotation is under way leaves nothing to resume; the operator asks again.
      const { rootKeyId } = (await started.rotation.resume()) ?? (await started.rotation.rotate());
      assert.deepEqual(started.keyStore.listNotUnder(rootKeyId, undefined, 100), [], what);
      await assertAllOpen(started);
      started.close();
    }
  }
});

test("a tenant's key that was begun under the old root key is not left under it", async () => {
  const directory = await makePlace();
  const gate = Promise.withResolvers<void>();
  const place = open(directory, (provider) => ({
    ...provider,
    async create(target) {
      const wrapped = await provider.create(target);
      await gate.promise;
      return wrapped;
    },
  }));
  const late = place.sealed.put("late", "k", Secret.take(Buffer.from("late")));
  const rotating = place.rotation.rotate();
  gate.resolve();
  await late;
  await rotating;
  await place.sealed.bind("late", "k", { target: { kind: "environment", variable: "K" }, label: undefined });
  place.close();
});

test("while the provider is away a rotation is refused and nothing is lost; parallel ones are one", async () => {
  const directory = await makePlace();
  let isAway = true;
  const place = open(directory, (provider) => ({
    ...provider,
    async rewrap(...parameters) {
      if (isAway) throw new Error("away");
      return await provider.rewrap(...parameters);
    },
  }));
  await assert.rejects(place.rotation.rotate(), /away/);
  await assertAllOpen(place);
  isAway = false;
  const [one, other] = await Promise.all([place.rotation.rotate(), place.rotation.rotate()]);
  assert.deepEqual(one, other);
  await assertAllOpen(place);
  place.close();
});
