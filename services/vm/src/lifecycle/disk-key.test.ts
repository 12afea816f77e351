import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { migrations } from "../store/schema.ts";
import type { VmPreparation, VmStart } from "../vmm/port.ts";
import { unwrapDiskKey } from "./disk-key.ts";
import { createFakeHost } from "./fake-host.ts";
import { startRun, wish } from "./fake-run.ts";

const mappingAt = 61 * 1024;
const never = new AbortController().signal;

/** A host with one running tenant, and what its microVM was prepared and started with. */
async function openSubject() {
  const host = createFakeHost();
  const database = openDatabase(":memory:", migrations);
  const run = startRun(host, database);
  const { prepare, start } = host.parts.vmm;
  const [prepared, drives]: [VmPreparation[], Buffer[]] = [[], []];
  Object.assign(host.parts.vmm, {
    prepare: (order: VmPreparation) => {
      prepared.push({ ...order, diskKey: Uint8Array.from(order.diskKey) });
      return prepare(order);
    },
    start: (order: VmStart) => {
      drives.push(Buffer.from(order.identityDrive));
      return start(order);
    },
  });
  const { vmId } = await run.operations.spawn(wish("demo"));
  const bootAnew = async () => {
    host.vmm.exit(vmId);
    run.tenants.markFailed(vmId, "VMM_EXITED");
    await run.operations.repair("demo");
    assert.equal(run.tenants.find("demo")?.phase, "running");
  };
  return { host, database, run, vmId, prepared, drives, bootAnew };
}

const hex = (key: Uint8Array | undefined) => Buffer.from(key ?? []).toString("hex");

test("a tenant's disk is made with its key, and each boot brings that key, which no row has", async () => {
  const { database, run, prepared, drives, bootAnew } = await openSubject();
  const key = hex(prepared[0]?.diskKey);
  assert.match(key, /^[0-9a-f]{128}$/);
  assert.notEqual(key.slice(0, 64), key.slice(64));
  await bootAnew();
  assert.equal(drives.length, 2);
  for (const drive of drives) assert.ok(drive.indexOf(key) >= mappingAt);
  const rows = JSON.stringify(database.prepare("SELECT *, hex(wrapped_disk_key) FROM tenant").all());
  assert.ok(!rows.includes(key) && !rows.toLowerCase().includes(key.slice(0, 64)));
  const tenant = run.tenants.find("demo");
  assert.ok(tenant);
  assert.equal(hex(await unwrapDiskKey(run.life, tenant, never)), key);
});

test("two tenants have two keys, and the key of one is worth nothing as the other's", async () => {
  const { run, prepared, host } = await openSubject();
  await run.operations.spawn(wish("other"));
  assert.notEqual(hex(prepared[0]?.diskKey), hex(prepared[1]?.diskKey));
  const [demo, other] = [run.tenants.find("demo"), run.tenants.find("other")];
  assert.ok(demo && other && host.keys.has("other"));
  await assert.rejects(unwrapDiskKey(run.life, { ...demo, wrappedDiskKey: other.wrappedDiskKey }, never));
});

test("after an eviction nobody opens the disk's key, whatever was copied before", async () => {
  const { run } = await openSubject();
  const copied = run.tenants.find("demo");
  assert.ok(copied);
  await run.operations.evict(randomUUID(), "demo");
  await assert.rejects(unwrapDiskKey(run.life, copied, never));
  await run.operations.spawn(wish("demo"));
  await assert.rejects(unwrapDiskKey(run.life, copied, never), "the next tenant of that name has another key");
});

test("without a key there is no disk: the spawn fails and leaves nothing", async () => {
  const { host, run } = await openSubject();
  const before = await host.inventory();
  host.failing.add("createDataKey");
  await assert.rejects(run.operations.spawn(wish("other")));
  assert.deepEqual(await host.inventory(), before);
  assert.equal(run.tenants.find("other"), undefined);
});

test("a boot that is tried once more has the same key", async () => {
  const { host, run, prepared } = await openSubject();
  const { awaitAgent } = host.parts.guests;
  host.failing.add("awaitAgent");
  host.parts.guests.awaitAgent = async (tenant, limitMs, signal) => {
    try {
      await awaitAgent(tenant, limitMs, signal);
    } finally {
      host.failing.clear();
    }
  };
  const { vmId } = await run.operations.spawn(wish("other"));
  const [first, second] = prepared.filter((order) => order.vmId === vmId);
  assert.ok(first && second && host.vmm.opensDisk(vmId));
  assert.equal(hex(first.diskKey), hex(second.diskKey));
});

test("a tenant of before there were keys boots from its plain disk", async () => {
  const { host, database, drives, bootAnew } = await openSubject();
  database.exec("UPDATE tenant SET wrapped_disk_key = NULL");
  // The fake's disks are all encrypted.
  host.vmm.opensDisk = () => true;
  host.failing.add("unwrapDataKey");
  await bootAnew();
  assert.ok(
    drives
      .at(-1)
      ?.subarray(mappingAt)
      .equals(Buffer.alloc(3 * 1024)),
  );
});
