import assert from "node:assert/strict";
import { createSecretKey, randomBytes, randomInt } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { z } from "zod";
import { type Binding, encodeBinding } from "./binding.ts";
import { open, SealBrokenError, seal, sealWithNonce } from "./sealed-box.ts";

const hex = z.string().transform((text) => Buffer.from(text, "hex"));
const vectorSchema = z.array(
  z.object({
    binding: z.object({
      purpose: z.enum(["tenant-key", "data-key", "secret-value", "gateway-token", "snapshot-key", "backup-key"]),
      tenant: z.string(),
      object: z.string(),
      version: z.number(),
      keyId: z.string(),
    }),
    key: hex,
    nonce: hex,
    plaintext: hex,
    associatedData: hex,
    box: hex,
  }),
);
const vectors = vectorSchema.parse(
  JSON.parse(readFileSync(new URL("./sealed-box.vectors.json", import.meta.url), "utf8")),
);
const key = createSecretKey(randomBytes(32));
const binding: Binding = { purpose: "secret-value", tenant: "demo", object: "api-key", version: 1, keyId: "00" };

test("known answers: encoding, sealing and opening are what another implementation computed", () => {
  assert.equal(vectors.length, 7);
  for (const vector of vectors) {
    const vectorKey = createSecretKey(vector.key);
    assert.deepEqual(encodeBinding(vector.binding), vector.associatedData);
    assert.deepEqual(sealWithNonce(vectorKey, vector.binding, vector.plaintext, vector.nonce), vector.box);
    const opened = open(vectorKey, vector.binding, vector.box);
    opened.use((bytes) => assert.deepEqual(Buffer.from(bytes), vector.plaintext));
  }
});

test("bindings that read the same when run together encode differently", () => {
  const one = encodeBinding({ ...binding, tenant: "a", object: "bc" });
  const other = encodeBinding({ ...binding, tenant: "ab", object: "c" });
  assert.notDeepEqual(one, other);
  assert.throws(() => encodeBinding({ ...binding, version: 0 }), RangeError);
});

test("two boxes of the same value differ", () => {
  const value = Buffer.from("value");
  assert.notDeepEqual(seal(key, binding, value), seal(key, binding, value));
});

test("a box with any one bit changed, cut or extended does not open", () => {
  const box = seal(key, binding, randomBytes(40));
  for (let bit = 0; bit < box.length * 8; bit += 1) {
    const changed = Buffer.from(box);
    changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    assert.throws(() => open(key, binding, changed), SealBrokenError);
  }
  for (let length = 0; length < box.length; length += 1) {
    assert.throws(() => open(key, binding, box.subarray(0, length)), SealBrokenError);
  }
  assert.throws(() => open(key, binding, Buffer.concat([box, Buffer.of(0)])), SealBrokenError);
});

test("swap: of 10,000 boxes or bound fields put in another's place none opens", () => {
  const sealedElsewhere = ["snapshot-key", "backup-key", "disk-key"] as const;
  const purposes = ["tenant-key", "data-key", "secret-value", "gateway-token", ...sealedElsewhere] as const;
  // One key for all, so that nothing but the binding tells the boxes apart.
  const boxes = Array.from({ length: 200 }, (_, index) => {
    const own: Binding = {
      purpose: purposes[index % 7] ?? "secret-value",
      tenant: `tenant-${index % 5}`,
      object: `object-${index % 8}`,
      version: 1 + (index % 9),
      keyId: `key-${index % 11}`,
    };
    return { own, box: seal(key, own, randomBytes(16)) };
  });
  const pick = () => boxes[randomInt(boxes.length)] ?? { own: binding, box: Buffer.alloc(0) };
  const fields = ["purpose", "tenant", "object", "version", "keyId"] as const;
  let opened = 0;
  for (let count = 0; count < 10_000; ) {
    const one = pick();
    const other = pick();
    const field = fields[randomInt(fields.length)] ?? "tenant";
    const swapped = randomInt(2) === 0 ? other.own : { ...one.own, [field]: other.own[field] };
    if (fields.every((name) => swapped[name] === one.own[name])) continue;
    count += 1;
    opened += opens(swapped, one.box) ? 1 : 0;
  }
  assert.equal(opened, 0);
});

function opens(swapped: Binding, box: Uint8Array): boolean {
  try {
    open(key, swapped, box).destroy();
    return true;
  } catch (error) {
    if (error instanceof SealBrokenError) return false;
    throw error;
  }
}
