import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { identify, identifyIssued } from "./caller.ts";
import { openRoles } from "./roles.ts";
import { captureLogs, manualClock } from "./testing.ts";

test("a name that root revoked is nobody's, whichever authority says it is somebody's", () => {
  const uri = "spiffe://test/client/former";
  const roles = new Map([[uri, "revoked"]] as const);
  assert.deepEqual(identify(uri, "test", roles), { kind: "stranger", uri });
  const issued = new Map([["A1", { uri, role: "owner", expireTime: "2030-01-01T00:00:00Z" }]] as const);
  assert.deepEqual(identifyIssued({ uri, serialNumber: "A1" }, "test", issued, roles), { kind: "stranger", uri });
});

test("a changed file counts within a second and a broken one changes nothing", (t) => {
  const directory = mkdtempSync(join(tmpdir(), "lobsterd-roles-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, "roles.json");
  const clock = manualClock();
  const { logger, logs } = captureLogs();
  writeFileSync(path, JSON.stringify({ "spiffe://test/client/a": "operator" }));
  const roles = openRoles(path, logger, clock.now);
  assert.equal(roles().get("spiffe://test/client/a"), "operator");

  writeFileSync(path, JSON.stringify({ "spiffe://test/client/bb": "viewer" }));
  clock.advance(1000);
  assert.deepEqual([...roles()], [["spiffe://test/client/bb", "viewer"]]);

  writeFileSync(path, JSON.stringify({ "spiffe://test/client/a": "emperor" }));
  clock.advance(1000);
  assert.deepEqual([...roles()], [["spiffe://test/client/bb", "viewer"]]);
  assert.equal(logs.length, 1);
  assert.throws(() => openRoles(path, logger));
});
