import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { HostService } from "@lobsterd/proto/lobsterd/vm/v1/host_pb.ts";
import { TenantService } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { createFakeHost } from "../lifecycle/fake-host.ts";
import { startRun } from "../lifecycle/fake-run.ts";
import { migrations } from "../store/schema.ts";
import { serveRun } from "./fake-service.ts";

function open() {
  const description = { reason: "QEMU emulates, as configured", cores: 2, memoryMib: 3072, overlayCapacityMib: 4096 };
  const host = createFakeHost({ description });
  const database = openDatabase(":memory:", migrations);
  const { harness } = serveRun(host, database, startRun(host, database));
  return { tenants: harness.as("role:operator", TenantService), hosts: harness.as("role:viewer", HostService) };
}

test("a host says why its VMM runs, what it admits, and what tenants hold", async () => {
  const { tenants, hosts } = open();
  const expected = {
    ...{ vmmReason: "QEMU emulates, as configured", cpuCount: 2, memoryMib: 3072 },
    ...{ vcpuCapacity: 16, memoryCapacityMib: 2048, diskCapacityMib: 3072 },
  };
  const none = { vcpusCommitted: 0, memoryCommittedMib: 0, diskCommittedMib: 0 };
  assert.partialDeepStrictEqual((await hosts.getHost({})).host, { ...expected, ...none });
  const resources = { vcpuCount: 2, memoryMib: 301, diskMib: 100 };
  await tenants.spawnTenant({ requestId: randomUUID(), name: "demo", resources });
  const held = { vcpusCommitted: 2, memoryCommittedMib: 708, diskCommittedMib: 100 + 313 };
  assert.partialDeepStrictEqual((await hosts.getHost({})).host, { ...expected, ...held });
});

test("a caller is told which resource ran out", async () => {
  const { tenants, hosts } = open();
  const spawn = (name: string) => tenants.spawnTenant({ requestId: randomUUID(), name, resources: { diskMib: 2000 } });
  await spawn("one");
  const refusal = await spawn("two").then(
    () => undefined,
    (error: unknown) => error,
  );
  assert.ok(refusal instanceof Error);
  assert.match(refusal.message, /disk_mib: 2267 wanted, 805 left/);
  assert.equal(reasonOf(refusal), "HOST_FULL");
  assert.equal((await hosts.getHost({})).host?.tenantCount, 1);
});
