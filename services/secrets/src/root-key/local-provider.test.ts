import assert from "node:assert/strict";
import { createSecretKey, randomBytes, randomInt } from "node:crypto";
import { test } from "node:test";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { deriveWrappingKey, localRootKey } from "./local-provider.ts";
import type { WrappedKey, WrapTarget } from "./provider.ts";
import { type RootKeySource, toRootKey } from "./root-key.ts";
import type { TenantShards } from "./tenant-shards.ts";

const hex = (text: string) => Buffer.from(text, "hex");
const root = hex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
const shard = hex("404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f");

test("known answer: the wrapping key is what Python's hmac computes by RFC 5869", () => {
  const derived = deriveWrappingKey(createSecretKey(root), shard);
  assert.equal(derived.export().toString("hex"), "512316a04bfb616a056f52b7d558f25554b7ca0a2ee0bdb91a14fd68ae2a6632");
});

test("another root key or another shard is another wrapping key", () => {
  const other = Buffer.from(shard).fill(0, 0, 1);
  const keys = [
    deriveWrappingKey(createSecretKey(root), shard),
    deriveWrappingKey(createSecretKey(root), other),
    deriveWrappingKey(createSecretKey(other), shard),
    deriveWrappingKey(createSecretKey(shard), root),
  ];
  assert.equal(new Set(keys.map((key) => key.export().toString("hex"))).size, keys.length);
});

/** Shards in memory: what is swapped below is what a thief of store and shards could swap. */
function shardsInMemory(): TenantShards {
  const shards = new Map<string, Buffer>();
  return {
    check: () => undefined,
    create(tenantKeyId) {
      const made = randomBytes(32);
      shards.set(tenantKeyId, made);
      return Buffer.from(made);
    },
    read: (tenantKeyId) => Buffer.from(shards.get(tenantKeyId) ?? randomBytes(32)),
    destroy: (tenantKeyId) => void shards.delete(tenantKeyId),
  };
}

test("swap: of 10,000 wrapped tenant keys with a part, a tenant or an id of another none opens", async () => {
  const [current, next] = [toRootKey(randomBytes(32), "one"), toRootKey(randomBytes(32), "other")];
  let isRotating = false;
  const source: RootKeySource = {
    kind: "memory",
    read: () => ({ current, next: isRotating ? next : undefined }),
    makeNext: () => undefined,
    promoteNext: () => undefined,
  };
  const provider = localRootKey(source, shardsInMemory());
  const made: { target: WrapTarget; wrapped: WrappedKey }[] = [];
  for (let index = 0; index < 60; index += 1) {
    isRotating = index % 2 === 1;
    const target = { tenant: `tenant-${index % 7}`, tenantKeyId: randomBytes(16).toString("hex") };
    made.push({ target, wrapped: await provider.create(target) });
  }
  isRotating = true;
  for (const { target, wrapped } of made) (await provider.unwrap(wrapped, target)).destroy();
  let opened = 0;
  for (let count = 0; count < 10_000; ) {
    const one = made[randomInt(made.length)];
    const other = made[randomInt(made.length)];
    if (one === undefined || other === undefined || one === other) continue;
    const half = Math.floor(one.wrapped.bytes.length / 2);
    const mixtures: [WrappedKey, WrapTarget][] = [
      [other.wrapped, one.target],
      [{ ...one.wrapped, bytes: other.wrapped.bytes }, one.target],
      [
        {
          ...one.wrapped,
          bytes: Buffer.concat([one.wrapped.bytes.subarray(0, half), other.wrapped.bytes.subarray(half)]),
        },
        one.target,
      ],
      [{ ...one.wrapped, rootKeyId: other.wrapped.rootKeyId }, one.target],
      [one.wrapped, { ...one.target, tenant: other.target.tenant }],
      [one.wrapped, { ...one.target, tenantKeyId: other.target.tenantKeyId }],
    ];
    const [wrapped, target] = mixtures[randomInt(mixtures.length)] ?? [one.wrapped, other.target];
    const isSame =
      wrapped.rootKeyId === one.wrapped.rootKeyId &&
      wrapped.bytes === one.wrapped.bytes &&
      target.tenant === one.target.tenant &&
      target.tenantKeyId === one.target.tenantKeyId;
    if (isSame) continue;
    count += 1;
    const reason = await provider.unwrap(wrapped, target).then(() => "opened", reasonOf);
    if (reason !== "SEAL_BROKEN") opened += 1;
  }
  assert.equal(opened, 0);
});
