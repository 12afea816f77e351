import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
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
  dispose(): void;
}

const target: WrapTarget = { tenant: "demo", tenantKeyId: "00112233445566778899aabbccddeeff" };

/** The contract of `RootKeyProvider`, run over every implementation. */
export function rootKeyProviderConforms(kind: string, make: () => ProviderFixture): void {
  const check = (name: string, run: (fixture: ProviderFixture) => Promise<void>) =>
    test(`${kind} root key: ${name}`, async () => {
      const fixture = make();
      try {
        await run(fixture);
      } finally {
        fixture.dispose();
      }
    });

  check("unwraps what it wrapped, and leaves the caller its bytes", async ({ provider }) => {
    const key = randomBytes(32);
    const before = Buffer.from(key);
    const wrapped = await provider.wrap(key, target);
    assert.deepEqual(key, before);
    assert.equal(Buffer.from(wrapped.bytes).includes(key), false);
    using opened = await provider.unwrap(wrapped, target);
    opened.use((bytes) => assert.deepEqual(Buffer.from(bytes), key));
  });

  check("wraps the same key differently each time", async ({ provider }) => {
    const key = randomBytes(32);
    const [one, other] = await Promise.all([provider.wrap(key, target), provider.wrap(key, target)]);
    assert.notDeepEqual(one.bytes, other.bytes);
  });

  check("refuses another tenant, key id or bytes", async ({ provider }) => {
    const wrapped = await provider.wrap(randomBytes(32), target);
    const refused = async (other: WrappedKey, where: WrapTarget) =>
      assert.equal(await reasonFrom(provider.unwrap(other, where)), "SEAL_BROKEN");
    await refused(wrapped, { ...target, tenant: "other" });
    await refused(wrapped, { ...target, tenantKeyId: "ff".repeat(16) });
    const changed = Buffer.from(wrapped.bytes);
    changed[changed.length - 1] = (changed.at(-1) ?? 0) ^ 1;
    await refused({ ...wrapped, bytes: changed }, target);
    await refused({ ...wrapped, bytes: new Uint8Array() }, target);
  });

  check("fails closed while the root key is away and works again by itself", async (fixture) => {
    const { provider } = fixture;
    const wrapped = await provider.wrap(randomBytes(32), target);
    fixture.takeAway();
    assert.equal((await provider.health()).state, "unavailable");
    assert.equal(await reasonFrom(provider.wrap(randomBytes(32), target)), "ROOT_KEY_UNAVAILABLE");
    assert.equal(await reasonFrom(provider.unwrap(wrapped, target)), "ROOT_KEY_UNAVAILABLE");
    fixture.putBack();
    assert.equal((await provider.health()).state, "ready");
    (await provider.unwrap(wrapped, target)).destroy();
  });

  check("does not take another root key for its own", async (fixture) => {
    const wrapped = await fixture.provider.wrap(randomBytes(32), target);
    fixture.replace();
    assert.equal(await reasonFrom(fixture.provider.unwrap(wrapped, target)), "ROOT_KEY_UNAVAILABLE");
  });
}

async function reasonFrom(result: Promise<unknown>): Promise<string | undefined> {
  try {
    await result;
    return "no failure";
  } catch (error) {
    return reasonOf(error) ?? String(error);
  }
}
