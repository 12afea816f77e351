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
