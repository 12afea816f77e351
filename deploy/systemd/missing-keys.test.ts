import assert from "node:assert/strict";
import { test } from "node:test";
import { completeKeys } from "./missing-keys.ts";

test("what a newer release needs is added, at any depth, and what was changed or added by hand stays", () => {
  const kept = { logLevel: "debug", own: [1], caddy: { checkIntervalMs: 5000 }, events: null };
  const wanted = {
    logLevel: "info",
    revocationsPath: "/r",
    caddy: { checkIntervalMs: 10_000, stamp: "/s" },
    events: {},
  };
  const { text, added } = completeKeys(JSON.stringify(kept), JSON.stringify(wanted));
  assert.deepEqual(JSON.parse(text), {
    ...kept,
    revocationsPath: "/r",
    caddy: { checkIntervalMs: 5000, stamp: "/s" },
  });
  assert.deepEqual(added, ["revocationsPath", "caddy.stamp"]);
});

test("a configuration that has everything is left alone", () => {
  assert.deepEqual(completeKeys('{"a":{"b":1}}', '{"a":{"b":2}}').added, []);
});

test("a choice of another kind keeps its own keys", () => {
  const kept = { rootKey: { kind: "vault", address: "https://vault" } };
  const wanted = { rootKey: { kind: "systemd-credential", name: "root" } };
  assert.deepEqual(completeKeys(JSON.stringify(kept), JSON.stringify(wanted)).added, []);
});

test("what is no object is an error, and not replaced", () => {
  for (const text of ["[]", "null", "1", "{"]) assert.throws(() => completeKeys(text, "{}"));
});
