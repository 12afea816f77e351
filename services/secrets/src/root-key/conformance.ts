import assert from "node:assert/strict";
import { test } from "node:test";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import type { RootKeyProvider, WrappedKey, WrapTarget } from "./provider.ts";

/** How the suite handles one kind of provider. */
export interface ProviderFixture {
  readonly provider: RootKeyProvider;
  /** Makes the root key unreachable, and reachable again. */
  takeAway(): void;
  putBack(): void;
  /** Exchanges the root key for another one. */
  replace(): void;
  /** Brings what an operator has to bring before a rotation. */
  prepareRotation(): void;
  /** A provider as after a restart of the process. */
  reopen(): RootKeyProvider;
  dispose(): void | Promise<void>;
}

const target: WrapTarget = { tenant: "demo", tenantKeyId: "00112233445566778899aabbccddeeff" };
const otherTarget: WrapTarget = { tenant: "other", tenantKeyId: "ff".repeat(16) };

/** The contract of `RootKeyProvider`, run over every implementation. */
export function rootKeyProviderConforms(kind: string, make: () => ProviderFixture | Promise<ProviderFixture>): void {
  const check = (name: string, run: (fixture: ProviderFixture) => Promise<void>) =>
    test(`${kind} root key: ${name}`, async () => {
      const fixture = await make();
      try {
        await run(fixture);
      } finally {
        await fixture.dispose();
      }
    });

  check("a key it made opens, and always to the same bytes", async ({ provider, reopen }) => {
    const wrapped = await provider.create(target);
    const key = await bytesOf(provider, wrapped, target);
    assert.equal(key.length, 32);
    assert.equal(Buffer.from(wrapped.bytes).includes(key), false);
    assert.deepEqual(await bytesOf(provider, wrapped, target), key);
    assert.deepEqual(await bytesOf(reopen(), wrapped, target), key);
  });

  check("every key is another one", async ({ provider }) => {
    const [one, other] = await Promise.all([provider.create(target), provider.create(otherTarget)]);
    assert.notDeepEqual(await bytesOf(provider, one, target), await bytesOf(provider, other, otherTarget));
  });

  check("refuses another tenant, key id or bytes", async ({ provider }) => {
    const wrapped = await provider.create(target);
    await provider.create(otherTarget);
    const refused = async (other: WrappedKey, where: WrapTarget) =>
      assert.equal(await reasonFrom(provider.unwrap(other, where)), "SEAL_BROKEN");
    await refused(wrapped, { ...target, tenant: "other" });
    await refused(wrapped, { ...target, tenantKeyId: otherTarget.tenantKeyId });
    const changed = Buffer.from(wrapped.bytes);
    const last = changed.length - 6;
    changed[last] = (changed[last] ?? 0) ^ 1;
    await refused({ ...wrapped, bytes: changed }, target);
    await refused({ ...wrapped, bytes: new Uint8Array() }, target);
  });

  check("fails closed while the root key is away and works again by itself", async (fixture) => {
    const { provider } = fixture;
    const wrapped = await provider.create(target);
    fixture.takeAway();
    assert.equal((await provider.health()).state, "unavailable");
    assert.equal(await reasonFrom(provider.create(otherTarget)), "ROOT_KEY_UNAVAILABLE");
    assert.equal(await reasonFrom(provider.unwrap(wrapped, target)), "ROOT_KEY_UNAVAILABLE");
    assert.equal(await reasonFrom(provider.rewrap(wrapped, target)), "ROOT_KEY_UNAVAILABLE");
    fixture.putBack();
    assert.equal((await provider.health()).state, "ready");
    (await provider.unwrap(wrapped, target)).destroy();
  });

  check("does not take another root key for its own", async (fixture) => {
    const wrapped = await fixture.provider.create(target);
    fixture.replace();
    assert.equal(await reasonFrom(fixture.provider.unwrap(wrapped, target)), "ROOT_KEY_UNAVAILABLE");
  });

  check("after a destruction no copy opens, and the others do", async ({ provider, reopen }) => {
    const wrapped = await provider.create(target);
    const copy = { rootKeyId: wrapped.rootKeyId, bytes: Buffer.from(wrapped.bytes) };
    const kept = await provider.create(otherTarget);
    await provider.destroy(target.tenantKeyId);
    for (const opened of [provider, reopen()]) {
      assert.equal(await reasonFrom(opened.unwrap(copy, target)), "TENANT_KEY_DESTROYED");
    }
    await provider.destroy(target.tenantKeyId);
    await provider.destroy("aa".repeat(16));
    (await provider.unwrap(kept, otherTarget)).destroy();
  });

  check("a rotation rewraps the same key, and until it is finished both root keys open", async (fixture) => {
    const { provider } = fixture;
    const old = await provider.create(target);
    const key = await bytesOf(provider, old, target);
    fixture.prepareRotation();
    const { previousRootKeyId, rootKeyId } = await provider.beginRotation();
    assert.equal(previousRootKeyId, old.rootKeyId);
    assert.notEqual(rootKeyId, previousRootKeyId);
    const rewrapped = await provider.rewrap(old, target);
    assert.equal(rewrapped.rootKeyId, rootKeyId);
    assert.equal((await provider.create(otherTarget)).rootKeyId, rootKeyId);
    for (const opened of [provider, fixture.reopen()]) {
      assert.deepEqual(await bytesOf(opened, old, target), key);
      assert.deepEqual(await bytesOf(opened, rewrapped, target), key);
    }
    assert.equal((await provider.rewrap(rewrapped, target)).rootKeyId, rootKeyId, "again changes nothing");
    await provider.finishRotation();
    for (const opened of [provider, fixture.reopen()]) assert.deepEqual(await bytesOf(opened, rewrapped, target), key);
    await provider.finishRotation();
    assert.deepEqual(await bytesOf(provider, rewrapped, target), key);
  });
}

async function bytesOf(provider: RootKeyProvider, wrapped: WrappedKey, where: WrapTarget): Promise<Buffer> {
  using opened = await provider.unwrap(wrapped, where);
  return opened.use((bytes) => Buffer.from(bytes));
}

async function reasonFrom(result: Promise<unknown>): Promise<string | undefined> {
  try {
    await result;
    return "no failure";
  } catch (error) {
    return reasonOf(error) ?? String(error);
  }
}
