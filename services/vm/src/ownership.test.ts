/** SVC-04: an owner with the ids of somebody else: nothing succeeds, and every answer is that for what does not exist. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import type { DescMessage } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { openRequestLog } from "@lobsterd/chassis/idempotency.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { type TestCaller, testHarness } from "@lobsterd/chassis/testing.ts";
import { ErrorInfoSchema } from "@lobsterd/proto/google/rpc/error_details_pb.ts";
import { TenantService } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { access } from "./access.ts";
import { createFakeHost } from "./lifecycle/fake-host.ts";
import { config, startRun, wish } from "./lifecycle/fake-run.ts";
import { tenantOwnership } from "./ownership.ts";
import { createRoutes } from "./routes.ts";
import type { VmContext } from "./service.ts";
import { migrations } from "./store/schema.ts";
import { openTenantChanges } from "./store/tenant-changes.ts";

const anna: TestCaller = "owner:anna";

async function open() {
  const database = openDatabase(":memory:", migrations);
  const host = createFakeHost();
  const run = startRun(host, database);
  for (const [name, owner] of [
    ["annas", "anna"],
    ["berts", "bert"],
    ["nobodys", ""],
  ] as const) {
    await run.operations.spawn({ ...wish(name), owner });
  }
  const context = {
    ...{ config, tenants: run.tenants, operations: run.operations, guests: host.parts.guests },
    ...{ holds: run.holds, idle: run.idle, backups: run.backups },
    ...{ changes: openTenantChanges(database), requests: openRequestLog(database) },
  };
  // What no method of this test uses is not there.
  const routes = createRoutes(context as unknown as VmContext);
  const ownership = tenantOwnership(run.tenants, run.journal);
  const harness = testHarness({ service: "vm", routes, access, ownership, maxDeadlineMs: 2000 });
  return { ...run, harness, host };
}

/** A valid request to every method that names a tenant. */
function requestsFor(name: string): Readonly<Record<string, () => object>> {
  const write = () => ({ requestId: randomUUID(), name });
  const id = "a".repeat(32);
  return {
    getTenant: () => ({ name }),
    updateTenant: () => ({ ...write(), resources: { vcpuCount: 1 } }),
    wakeTenant: () => ({ ...write(), vmId: id, cause: 1 }),
    exportBackup: () => ({ name, backupId: id }),
    importBackup: () => ({ message: { case: "start", value: { ...write() } } }),
    updateTenantEgress: () => ({ ...write(), egress: { mode: 1 } }),
    evictTenant: write,
    suspendTenant: write,
    resumeTenant: write,
    repairTenant: write,
    execTenant: () => ({ message: { case: "start", value: { name, command: ["id"] } } }),
    streamTenantLogs: () => ({ name, source: 1 }),
    acquireHold: () => ({ ...write(), duration: { seconds: 1n } }),
    releaseHold: () => ({ ...write(), holdId: id }),
    createBackup: write,
    listBackups: () => ({ name }),
    restoreBackup: () => ({ ...write(), backupId: id }),
    deleteBackup: () => ({ ...write(), backupId: id }),
  };
}

type Harness = Awaited<ReturnType<typeof open>>["harness"];

/** What a call is answered: `OK`, or everything of its error that reaches the caller, without the tenant's name. */
async function answerOf(harness: Harness, caller: TestCaller, method: string, name: string): Promise<string> {
  const client = harness.as(caller, TenantService) as unknown as Record<string, (request: unknown) => unknown>;
  const request = requestsFor(name)[method]?.();
  const kind = TenantService.methods.find(({ localName }) => localName === method)?.methodKind;
  const call = client[method];
  assert.ok(call !== undefined && kind !== undefined);
  try {
    if (kind === "unary") await call(request);
    else if (kind === "client_streaming") await call(once(request));
    else {
      const sent = kind === "bidi_streaming" ? once(request) : request;
      for await (const _ of call(sent) as AsyncIterable<unknown>) break;
    }
    return "OK";
  } catch (error) {
    const { code, rawMessage, details } = ConnectError.from(error);
    const known = ConnectError.from(error).findDetails(ErrorInfoSchema as DescMessage);
    const text = JSON.stringify([Code[code], rawMessage, known, details.length]);
    return text.replaceAll(name, "<name>");
  }
}

async function* once(request: unknown): AsyncGenerator<unknown> {
  yield request;
}

test("requests are there for every method that names a tenant", () => {
  const open = ["spawnTenant", "listTenants", "watchTenants"];
  const named = TenantService.methods.map(({ localName }) => localName).filter((name) => !open.includes(name));
  assert.deepEqual(Object.keys(requestsFor("any")).sort(), named.sort());
});

test("of a tenant of somebody else an owner is answered as of none, by every method, and nothing happens to it", async (t) => {
  const { harness, tenants } = await open();
  const before = JSON.stringify(tenants.all());
  const answers = new Map<string, string>();
  for (const method of Object.keys(requestsFor(""))) {
    const unknown = await answerOf(harness, anna, method, "unknown");
    for (const name of ["berts", "nobodys"]) {
      assert.equal(await answerOf(harness, anna, method, name), unknown, `${method} ${name}`);
    }
    assert.match(unknown, /TENANT_NOT_FOUND|NOT_ALLOWED/, method);
    answers.set(method, unknown);
  }
  assert.equal(JSON.stringify(tenants.all()), before);
  // An operator is told of no tenant in the same words.
  assert.equal(await answerOf(harness, "role:operator", "getTenant", "unknown"), answers.get("getTenant"));
  t.diagnostic(`${answers.size * 2} calls with ids of others, 0 succeeded`);
});

test("an owner reaches its own tenants, sees no others, and spawns none", async () => {
  const { harness, tenants } = await open();
  const client = harness.as(anna, TenantService);
  assert.equal((await client.getTenant({ name: "annas" })).tenant?.owner, "anna");
  assert.deepEqual(
    (await client.listTenants({})).tenants.map(({ name }) => name),
    ["annas"],
  );
  assert.deepEqual((await client.listTenants({ page: { pageToken: "", pageSize: 1 } })).page?.nextPageToken, "");
  const seen: string[] = [];
  const watching = new AbortController();
  try {
    for await (const { tenant, snapshotEnd } of client.watchTenants({}, { signal: watching.signal })) {
      if (snapshotEnd) watching.abort();
      else seen.push(tenant?.name ?? "");
    }
  } catch (error) {
    assert.ok(watching.signal.aborted, String(error));
  }
  assert.deepEqual(seen, ["annas"]);
  assert.doesNotMatch(await answerOf(harness, anna, "execTenant", "annas"), /NOT_FOUND|NOT_ALLOWED/);
  await assert.rejects(
    client.spawnTenant({ requestId: randomUUID(), name: "more", owner: "anna" }),
    (error) => reasonOf(error) === "NOT_ALLOWED",
  );
  assert.equal((await harness.as("role:viewer", TenantService).listTenants({})).tenants.length, 3);
  assert.equal(tenants.count(), 3);
});

test("an owner's eviction may be repeated by that owner, whoever has the name since", async () => {
  const { harness, operations, tenants } = await open();
  const eviction = { requestId: randomUUID(), name: "annas" };
  await harness.as(anna, TenantService).evictTenant(eviction);
  const { vmId } = await operations.spawn({ ...wish("annas"), owner: "bert" });
  await harness.as(anna, TenantService).evictTenant(eviction);
  assert.equal(tenants.find("annas")?.vmId, vmId);
  const others = [
    { ...eviction, requestId: randomUUID() },
    { ...eviction, name: "berts" },
  ];
  for (const request of others) {
    await assert.rejects(
      harness.as(anna, TenantService).evictTenant(request),
      (error) => reasonOf(error) === "TENANT_NOT_FOUND",
    );
  }
  await assert.rejects(
    harness.as("owner:carl", TenantService).evictTenant(eviction),
    (error) => reasonOf(error) === "TENANT_NOT_FOUND",
  );
});

test("a client without a name in any tenant owns nothing: nobody's tenants are not its", async () => {
  const { tenants, journal } = await open();
  assert.equal(tenants.isOwned("nobodys", ""), false);
  assert.equal(journal.wasEvictedBy(randomUUID(), "nobodys", ""), false);
});
