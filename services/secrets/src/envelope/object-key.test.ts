import assert from "node:assert/strict";
import { createSecretKey, randomBytes, randomInt } from "node:crypto";
import { test } from "node:test";
import { Secret } from "@lobsterd/chassis/secret.ts";
import { makeObjectKey, openObjectKey, type SealedObject } from "./object-key.ts";
import { SealBrokenError } from "./sealed-box.ts";
import { newKeyId, sealValue, type TenantKey } from "./sealed-value.ts";

const object: SealedObject = { purpose: "snapshot-key", objectId: "0123-7" };
const tenantKey = (tenant: string): TenantKey => ({ id: newKeyId(), tenant, key: createSecretKey(randomBytes(32)) });
const bytesOf = (secret: Secret) => secret.use((bytes) => Buffer.from(bytes));

test("a key of 256 bits comes back, and two keys of one object differ", () => {
  const key = tenantKey("a");
  const [one, other] = [makeObjectKey(key, object), makeObjectKey(key, object)];
  assert.equal(bytesOf(one.plaintext).length, 32);
  assert.deepEqual(bytesOf(openObjectKey(key, object, one.wrapped)), bytesOf(one.plaintext));
  assert.notDeepEqual(bytesOf(one.plaintext), bytesOf(other.plaintext));
  assert.equal(Buffer.from(one.wrapped).includes(bytesOf(one.plaintext)), false);
});

test("swap: of 10,000 wrapped keys put in another's place none opens", () => {
  const shared = createSecretKey(randomBytes(32));
  // One key for all in half of the draws, so that nothing but the binding tells the boxes apart.
  const purposes = ["snapshot-key", "backup-key", "disk-key"] as const;
  const made = Array.from({ length: 60 }, (_, index) => {
    const key = { id: `key-${index % 4}`, tenant: `tenant-${index % 5}`, key: shared };
    const own: SealedObject = {
      purpose: purposes[index % 3] ?? "snapshot-key",
      objectId: `object-${index % 7}`,
    };
    return { key, own, wrapped: makeObjectKey(key, own).wrapped };
  });
  let opened = 0;
  for (let count = 0; count < 10_000; ) {
    const one = made[randomInt(made.length)];
    const other = made[randomInt(made.length)];
    if (one === undefined || other === undefined) continue;
    const mixtures: [TenantKey, SealedObject][] = [
      [{ ...one.key, tenant: other.key.tenant }, one.own],
      [{ ...one.key, id: other.key.id }, one.own],
      [one.key, { ...one.own, purpose: other.own.purpose }],
      [one.key, { ...one.own, objectId: other.own.objectId }],
      [other.key, other.own],
      [{ ...one.key, key: createSecretKey(randomBytes(32)) }, one.own],
    ];
    const [key, own] = mixtures[randomInt(mixtures.length)] ?? [one.key, one.own];
    const isSame =
      key.key === shared &&
      key.id === one.key.id &&
      key.tenant === one.key.tenant &&
      own.purpose === one.own.purpose &&
      own.objectId === one.own.objectId;
    if (isSame) continue;
    count += 1;
    assert.throws(() => {
      openObjectKey(key, own, one.wrapped);
      opened += 1;
    }, SealBrokenError);
  }
  assert.equal(opened, 0);
});

test("the wrapped key of a stored value is no object's key", () => {
  const key = tenantKey("a");
  const identity = { purpose: "secret-value", object: object.objectId, version: 1 } as const;
  const { wrappedDataKey } = sealValue(key, identity, Secret.take(randomBytes(8)));
  assert.throws(() => openObjectKey(key, object, wrappedDataKey), SealBrokenError);
});
