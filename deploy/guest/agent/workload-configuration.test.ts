import assert from "node:assert/strict";
import { test } from "node:test";
import { PointerError, withFields } from "./workload-configuration.ts";

const fields = (...entries: [string, string][]) => new Map(entries);

test("values go where the pointers point, and objects on the way are made", () => {
  const base = { tenant: "demo", models: { main: { name: "m" } } };
  assert.deepEqual(withFields(base, fields(["/models/main/key", "one"], ["/a/b/c", "two"], ["/plain", "three"])), {
    tenant: "demo",
    models: { main: { name: "m", key: "one" } },
    a: { b: { c: "two" } },
    plain: "three",
  });
  assert.deepEqual(base, { tenant: "demo", models: { main: { name: "m" } } }, "the base stays as it is");
  assert.deepEqual(withFields(base, fields(["/tenant", "other"])).tenant, "other");
});

test("a pointer through a value, onto an object or into a prototype is refused", () => {
  const base = { text: "x", list: [1], object: { a: 1 } };
  for (const pointer of [
    "/text/a",
    "/list/0",
    "/object",
    "/__proto__/polluted",
    "/constructor/prototype/x",
    "/a/__proto__",
    "",
  ]) {
    assert.throws(() => withFields(base, fields([pointer, "v"])), PointerError, pointer);
  }
  assert.equal(Reflect.get({}, "polluted"), undefined);
});

test("a field whose name objects have by themselves is an ordinary one", () => {
  assert.deepEqual(withFields({}, fields(["/toString/x", "v"])), { toString: { x: "v" } });
});
