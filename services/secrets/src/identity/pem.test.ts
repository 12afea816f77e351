import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { pemBytes } from "./pem.ts";

test("PEM of every length is what base64 with lines of 64 gives", () => {
  for (let length = 0; length <= 200; length += 1) {
    const der = randomBytes(length);
    const lines = der.toString("base64").match(/.{1,64}/g) ?? [];
    const wanted = ["-----BEGIN X-----", ...lines, "-----END X-----", ""].join("\n");
    assert.equal(Buffer.from(pemBytes("X", der)).toString(), wanted);
  }
});
