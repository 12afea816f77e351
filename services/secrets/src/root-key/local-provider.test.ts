import assert from "node:assert/strict";
import { createSecretKey } from "node:crypto";
import { test } from "node:test";
import { deriveWrappingKey } from "./local-provider.ts";

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
