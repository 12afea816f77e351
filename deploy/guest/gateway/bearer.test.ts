import assert from "node:assert/strict";
import { test } from "node:test";
import { isBearer } from "./bearer.ts";

const token = Buffer.from("s3cret-token");

test("the token is accepted, with any case of the scheme", () => {
  assert.ok(isBearer("Bearer s3cret-token", token));
  assert.ok(isBearer("bearer s3cret-token", token));
});

test("anything else is not", () => {
  const wrong = [
    undefined,
    "",
    "Bearer",
    "Bearer ",
    "Bearer s3cret-toke",
    "Bearer s3cret-token ",
    "Basic s3cret-token",
    "s3cret-token",
  ];
  for (const header of wrong) assert.ok(!isBearer(header, token), header);
});

test("an empty token matches nothing", () => {
  assert.ok(!isBearer("Bearer ", Buffer.alloc(0)));
  assert.ok(!isBearer("Bearer x", Buffer.alloc(0)));
});
