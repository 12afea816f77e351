import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { migrations } from "./schema.ts";
import { openTenantStore } from "./tenants.ts";

const directory = mkdtempSync(join(tmpdir(), "lobsterd-tenants-"));
after(() => rmSync(directory, { recursive: true }));

test("a tenant of before there were policies and extra host names reaches the internet at the host's rates and has no such names", () => {
  const path = join(directory, "vm.sqlite");
  const before = openDatabase(path, migrations.slice(0, 1));
  before.exec(`INSERT INTO tenant (name, vm_id, request_id, state, slot, generation, image, vcpu_count, memory_mib, disk_mib,
    labels, create_time_ms) VALUES ('old', 'a', 'r', 'running', 0, 1, 'base', 1, 256, 64, '{}', 1)`);
  before.close();
  const database = openDatabase(path, migrations);
  assert.partialDeepStrictEqual(openTenantStore(database).find("old"), {
    phase: "running",
    egress: { mode: "internet" },
    networkLimits: { sentKbits: 0, receivedKbits: 0, sentPackets: 0, receivedPackets: 0 },
    extraHostNames: [],
  });
  database.close();
});

test("tenants of before there was sleep keep their operations and steps, and go away with them as before", () => {
  const path = join(directory, "sleepless.sqlite");
  const before = openDatabase(path, migrations.slice(0, 6));
  before.exec(`INSERT INTO tenant (name, vm_id, request_id, state, slot, generation, image, vcpu_count, memory_mib, disk_mib,
    labels, create_time_ms, extra_host_names)
    VALUES ('old', 'a', 'r', 'spawning', 0, 3, 'base', 1, 256, 64, '{}', 1, '["own.example"]');
    INSERT INTO operation VALUES ('a', 'spawn', 7); INSERT INTO operation_step VALUES ('a', 'boot-guest', 8)`);
  before.close();
  const database = openDatabase(path, migrations);
  const tenants = openTenantStore(database);
  assert.partialDeepStrictEqual(tenants.find("old"), {
    ...{ generation: 3, settledGeneration: 3, sealCounter: 0 },
    extraHostNames: ["own.example"],
  });
  assert.deepEqual(
    { ...database.prepare("SELECT * FROM operation").get() },
    { vm_id: "a", kind: "spawn", start_time_ms: 7 },
  );
  assert.equal(database.prepare("SELECT step FROM operation_step").get()?.["step"], "boot-guest");
  assert.throws(() => database.exec("INSERT INTO operation VALUES ('b', 'suspend', 1)"), /FOREIGN KEY/);
  database.exec("INSERT INTO sealed_state VALUES ('a', 1, 3, x'00')");
  tenants.remove("a");
  for (const table of ["operation", "operation_step", "sealed_state"])
    assert.equal(database.prepare(`SELECT count(*) AS rows FROM ${table}`).get()?.["rows"], 0, table);
  database.close();
});
