import assert from "node:assert/strict";
import { test } from "node:test";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { type StreamTenantLogsResponse, TenantLogSource } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { createFakeHost } from "../lifecycle/fake-host.ts";
import { startRun, wish } from "../lifecycle/fake-run.ts";
import { migrations } from "../store/schema.ts";
import { streamTenantLogs } from "./stream-tenant-logs.ts";

function open() {
  const host = createFakeHost();
  const run = startRun(host, openDatabase(":memory:", migrations));
  const stream = streamTenantLogs({ tenants: run.tenants, guests: host.parts.guests, holds: run.holds });
  const { signal } = new AbortController();
  const lines = async (
    name: string,
    source: TenantLogSource = TenantLogSource.WORKLOAD,
  ): Promise<StreamTenantLogsResponse[]> =>
    await Array.fromAsync(stream({ name, source, follow: false, tailLines: 7 }, { signal }));
  return { ...run, host, lines };
}

test("lines come from the source that was asked for, printable, and without a time that is none", async () => {
  const { operations, lines } = open();
  await operations.spawn(wish("demo"));
  const found = await lines("demo");
  assert.deepEqual(
    found.map(({ line }) => line),
    ["source 2 tail 7", "\\u001b[31mred\\u001b[0m"],
  );
  assert.deepEqual(
    found.map(({ time }) => time),
    [undefined, undefined],
  );
  assert.equal((await lines("demo", TenantLogSource.AGENT))[0]?.line, "source 1 tail 7");
});

test("a tenant that is spawned has a log as soon as it has a guest", async () => {
  const { host, operations, lines } = open();
  const reached = Promise.withResolvers<void>();
  const { awaitWorkload } = host.parts.guests;
  const ready = Promise.withResolvers<void>();
  host.parts.guests.awaitWorkload = async (...parameters) => {
    reached.resolve();
    await ready.promise;
    return await awaitWorkload(...parameters);
  };
  const spawning = operations.spawn(wish("demo"));
  await reached.promise;
  assert.equal((await lines("demo"))[0]?.line, "source 2 tail 7");
  ready.resolve();
  await spawning;
});

test("what has no log says why", async () => {
  const { operations, tenants, lines } = open();
  const { vmId } = await operations.spawn(wish("demo"));
  const reason = (call: Promise<unknown>) => call.then(() => "none", reasonOf);
  assert.equal(await reason(lines("demo", TenantLogSource.VMM)), "VMM_LOG_NOT_OFFERED");
  assert.equal(await reason(lines("absent")), "TENANT_NOT_FOUND");
  tenants.markFailed(vmId, "VMM_EXITED");
  assert.equal(await reason(lines("demo")), "TENANT_NOT_RUNNING");
});
