import assert from "node:assert/strict";
import { test } from "node:test";
import { foreignImports } from "./authority-imports.ts";

test("a service may import itself, the chassis and the protos", () => {
  const text = [
    'import { a } from "./a.ts";',
    'import { b } from "../rpc/b.ts";',
    'import type { c } from "@lobsterd/chassis/c.ts";',
    'import { d } from "@lobsterd/proto/lobsterd/vm/v1/d_pb.ts";',
    'import { e } from "node:fs";',
  ].join("\n");
  assert.deepEqual(foreignImports("services/vm/src/store/x.ts", text), []);
});

test("another service is refused by package name, by path and in a dynamic import", () => {
  const text = [
    'import { a } from "@lobsterd/net/a.ts";',
    'import { b } from "../../../net/src/b.ts";',
    'const c = await import("@lobsterd/secrets/c.ts");',
  ].join("\n");
  assert.deepEqual(foreignImports("services/vm/src/store/x.ts", text), [
    "@lobsterd/net/a.ts",
    "../../../net/src/b.ts",
    "@lobsterd/secrets/c.ts",
  ]);
});

test("the chassis imports no service", () => {
  assert.deepEqual(foreignImports("services/chassis/src/x.ts", 'import { a } from "@lobsterd/vm/a.ts";'), [
    "@lobsterd/vm/a.ts",
  ]);
});
