import assert from "node:assert/strict";
import { createSecretKey, randomBytes, randomInt } from "node:crypto";
import { test } from "node:test";
import { Secret } from "@lobsterd/chassis/secret.ts";
import { SealBrokenError } from "./sealed-box.ts";
import { fingerprint, newKeyId, openValue, type SealedValue, sealValue, type ValueIdentity } from "./sealed-value.ts";

const tenantKey = (tenant: string) => ({ id: newKeyId(), tenant, key: createSecretKey(randomBytes(32)) });
const secret = (text: string) => Secret.take(Buffer.from(text));
const identity: ValueIdentity = { purpose: "secret-value", object: "api-key", version: 1 };

test("a value comes back, and its key ids are fresh each time", () => {
  const key = tenantKey("a");
  const one = sealValue(key, identity, secret("value"));
  const other = sealValue(key, identity, secret("value"));
  openValue(key, identity, one).use((bytes) => assert.equal(Buffer.from(bytes).toString(), "value"));
  assert.notEqual(one.dataKeyId, other.dataKeyId);
  assert.notDeepEqual(one.wrappedDataKey, other.wrappedDataKey);
});

test("swap: of 10,000 sealed values with a part, a name or a key taken from another none opens", () => {
  const keys = [tenantKey("a"), tenantKey("b")];
  const sealed = Array.from({ length: 60 }, (_, index) => {
    const key = keys[index % 2] ?? tenantKey("c");
    const own: ValueIdentity = {
      purpose: index % 3 === 0 ? "gateway-token" : "secret-value",
      object: `name-${index}`,
      version: 1 + (index % 5),
    };
    return { key, own, value: sealValue(key, own, secret(`value ${index}`)) };
  });
  let opened = 0;
  for (let count = 0; count < 10_000; ) {
    const one = sealed[randomInt(sealed.length)];
    const other = sealed[randomInt(sealed.length)];
    if (one === undefined || other === undefined || one === other) continue;
    count += 1;
    const mixtures: [typeof one.key, ValueIdentity, SealedValue][] = [
      [one.key, one.own, { ...one.value, ciphertext: other.value.ciphertext }],
      [one.key, one.own, { ...one.value, wrappedDataKey: other.value.wrappedDataKey }],
      [one.key, one.own, { ...one.value, dataKeyId: other.value.dataKeyId }],
      [one.key, one.own, { ...other.value, tenantKeyId: one.value.tenantKeyId }],
      [one.key, { ...one.own, version: one.own.version + 1 + randomInt(5) }, one.value],
      [one.key, { ...one.own, object: `${one.own.object}x` }, one.value],
      [{ ...one.key, tenant: `${one.key.tenant}x` }, one.own, one.value],
      [{ ...one.key, key: createSecretKey(randomBytes(32)) }, one.own, one.value],
    ];
    const [key, own, value] = mixtures[randomInt(mixtures.length)] ?? [one.key, one.own, one.value];
    assert.throws(() => {
      openValue(key, own, value);
      opened += 1;
    }, SealBrokenError);
  }
  assert.equal(opened, 0);
});

test("a fingerprint is equal for equal values under one key only", () => {
  const key = tenantKey("a");
  assert.deepEqual(fingerprint(key, secret("v")), fingerprint(key, secret("v")));
  assert.notDeepEqual(fingerprint(key, secret("v")), fingerprint(key, secret("w")));
  assert.notDeepEqual(fingerprint(key, secret("v")), fingerprint(tenantKey("a"), secret("v")));
});
