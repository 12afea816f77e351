import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { tokenMatches } from "./token.ts";

const token = "A".repeat(43);
const digest = createHash("sha256").update(token).digest();

test("the token whose digest is kept matches", () => {
  assert.equal(tokenMatches(`Bearer ${token}`, digest), true);
});

test("no token, another one, and anything around it do not", () => {
  const wrong = [
    "",
    "Bearer ",
    `Bearer ${"B".repeat(43)}`,
    `Bearer ${token}A`,
    `bearer ${token}`,
    token,
    ` Bearer ${token}`,
  ];
  for (const header of [undefined, ...wrong]) assert.equal(tokenMatches(header, digest), false, header);
});

test("the digest of nothing lets nobody in", () => {
  const ofNothing = createHash("sha256").update("").digest();
  for (const header of [undefined, "", "Bearer "]) assert.equal(tokenMatches(header, ofNothing), false);
});
