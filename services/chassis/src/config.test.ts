import assert from "node:assert/strict";
import { test } from "node:test";
import { z } from "zod";
import { ConfigError, commonConfigSchema, describeConfig, parseConfig } from "./config.ts";

const valid = {
  ...{ service: "vm", hostId: "h1", trustDomain: "test", stateDir: "/s", rolesPath: "/r", revocationsPath: "/v" },
  listen: { unixPath: "/run/x.sock" },
  tls: { certificatePath: "/c", keyPath: "/k", platformCaPath: "/ca" },
};
const schema = commonConfigSchema.extend({ slotCount: z.int().min(1).default(16).describe("slots on this host") });

test("defaults are filled in and the whole is frozen", () => {
  const config = parseConfig(schema, JSON.stringify(valid));
  assert.deepEqual([config.slotCount, config.reflection, config.defaultDeadlineMs], [16, true, 30_000]);
  assert.ok(Object.isFrozen(config) && Object.isFrozen(config.tls));
});

test("every fault is listed at once, unknown keys too", () => {
  const text = JSON.stringify({
    ...valid,
    service: "Not A Name",
    slotCount: 0,
    typo: 1,
    listen: { unixPath: "relative" },
  });
  assert.throws(
    () => parseConfig(schema, text),
    (error: unknown) => {
      assert.ok(error instanceof ConfigError);
      assert.equal(error.faults.length, 4);
      for (const part of ["service", "slotCount", "typo", "listen.unixPath"]) {
        assert.ok(
          error.faults.some((fault) => fault.includes(part)),
          part,
        );
      }
      return true;
    },
  );
  assert.throws(() => parseConfig(schema, "{"), ConfigError);
});

test("help has a line for each key with its default", () => {
  const help = describeConfig(schema);
  assert.match(help, /listen\.tcp\.port \(integer/);
  assert.match(help, /slotCount \(integer, default 16\) slots on this host/);
  assert.match(help, /hostId \(string, required\)/);
});

test("help names the keys of every form of a union, and of what a list holds", () => {
  const help = describeConfig(
    z.strictObject({
      key: z
        .discriminatedUnion("kind", [
          z.strictObject({ kind: z.literal("file"), path: z.string().describe("where it is") }),
          z.strictObject({ kind: z.literal("vault"), url: z.string().optional() }),
        ])
        .describe("what wraps"),
      port: z.union([z.int(), z.literal("any free one")]).default(1),
      pairs: z.array(z.strictObject({ id: z.string() })),
    }),
  );
  const lines = help.split("\n").filter((line) => line.startsWith("  "));
  assert.deepEqual(lines, [
    "  key (one of 2 forms, required) what wraps",
    "  key.kind (file, required)",
    "  key.path (string, required) where it is",
    "  key.kind (vault, required)",
    "  key.url (string, optional)",
    "  port (integer|any free one, default 1)",
    "  pairs (array, required)",
    "  pairs[].id (string, required)",
  ]);
});

test("a placeholder where a value belongs is refused, wherever it stands", () => {
  const faults = (change: object) => {
    try {
      parseConfig(schema, JSON.stringify({ ...valid, ...change }));
      return [];
    } catch (error) {
      assert.ok(error instanceof ConfigError);
      return error.faults;
    }
  };
  for (const text of [
    "changeme",
    "CHANGE_ME",
    "change-me",
    "todo",
    "xxxx",
    "replace-me",
    "your-host",
    "lobsterd-test-1",
  ]) {
    assert.equal(faults({ hostId: text.toLowerCase().replaceAll("_", "-") }).length, 1, text);
  }
  for (const text of ["/etc/<your-key>", "/keys/changeme", "/keys/{{ key }}", `/keys/${"$"}{KEY}`]) {
    const tls = { ...valid.tls, keyPath: text };
    assert.match(faults({ tls })[0] ?? "", /^tls\.keyPath: .* is a placeholder$/, text);
  }
  assert.deepEqual(faults({ hostId: "todo-list-host", stateDir: "/var/lib/changes" }), []);
});
