import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { createContextValues } from "@connectrpc/connect";
import { type Caller, callerKey } from "@lobsterd/chassis/caller.ts";
import { openDatabase, transaction } from "@lobsterd/chassis/sqlite.ts";
import { TenantState, type WatchTenantsResponse } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { createFakeHost } from "../lifecycle/fake-host.ts";
import { config, startRun, wish } from "../lifecycle/fake-run.ts";
import { migrations } from "../store/schema.ts";
import { openTenantChanges } from "../store/tenant-changes.ts";
import { watchTenants } from "./watch-tenants.ts";

function open(limit?: number) {
  const database = openDatabase(":memory:", migrations);
  const changes = openTenantChanges(database, limit);
  const run = startRun(createFakeHost(), database);
  const watch = (startRevision = 0n, signal = new AbortController().signal, caller?: Caller) => {
    const messages = watchTenants({ config, tenants: run.tenants, changes })(
      { startRevision },
      { signal, values: createContextValues().set(callerKey, caller) },
    );
    return async (): Promise<WatchTenantsResponse> => {
      const { value, done } = await messages.next();
      assert.ok(done !== true);
      return value;
    };
  };
  return { ...run, database, changes, watch };
}

const states = new Map(Object.entries(TenantState).map(([name, state]) => [state as TenantState, name]));
const show = ({ tenant, removed, snapshotEnd }: WatchTenantsResponse): string =>
  snapshotEnd ? "end" : `${tenant?.name} ${removed ? "removed" : states.get(tenant?.state ?? TenantState.UNSPECIFIED)}`;

test("first what there is, then what happens", async () => {
  const { operations, watch } = open();
  await operations.spawn(wish("one"));
  const next = watch();
  const first = await next();
  assert.deepEqual([show(first), first.revision], ["one RUNNING", 0n]);
  const end = await next();
  assert.equal(show(end), "end");
  const waiting = next();
  await operations.spawn(wish("two"));
  const spawning = await waiting;
  assert.equal(spawning.tenant?.name, "two");
  assert.ok(spawning.revision > end.revision);
  await operations.evict(randomUUID(), "one");
  const seen = new Set<string>();
  while (!seen.has("one removed")) seen.add(show(await next()));
  assert.ok(seen.has("two RUNNING"), [...seen].join());
});

test("a reader continues where it was, and gets what it missed once, as it is last", async () => {
  const { operations, watch } = open();
  const early = watch();
  const { revision } = await early();
  await operations.spawn(wish("one"));
  await operations.spawn(wish("two"));
  await operations.evict(randomUUID(), "one");
  const next = watch(revision);
  assert.deepEqual([show(await next()), show(await next())], ["two RUNNING", "one removed"]);
});

test("a revision that is forgotten, of another run or of the future gets all tenants again, and their end", async () => {
  const { operations, changes, watch } = open(2);
  const start = changes.revision();
  for (const name of ["one", "two", "three"]) await operations.spawn(wish(name));
  for (const revision of [start, 1n, changes.revision() + 1n, open().changes.revision()]) {
    const next = watch(revision);
    const seen = [show(await next()), show(await next()), show(await next()), show(await next())];
    assert.deepEqual(seen, ["one RUNNING", "three RUNNING", "two RUNNING", "end"]);
  }
});

test("a write that was rolled back is no tenant", async () => {
  const { operations, database, changes, tenants, watch } = open();
  const { vmId } = await operations.spawn(wish("one"));
  const next = watch(changes.revision());
  assert.throws(() =>
    transaction(database, () => {
      tenants.remove(vmId);
      throw new Error("told to fail");
    }),
  );
  assert.equal(show(await next()), "one RUNNING");
});

test("a watch ends with its call", async () => {
  const { watch } = open();
  const call = new AbortController();
  const next = watch(0n, call.signal);
  assert.equal(show(await next()), "end");
  const waiting = next();
  call.abort();
  await assert.rejects(waiting);
});

test("an owner sees its tenants come and go, and nothing of the others", async () => {
  const { operations, changes, watch } = open();
  const owner = (name: string): Caller => ({
    kind: "client",
    name,
    uri: `spiffe://test/client/${name}`,
    role: "owner",
  });
  const spawn = (name: string, of: string) => operations.spawn({ ...wish(name), owner: of });
  await spawn("mine", "anna");
  await spawn("theirs", "bert");
  const { signal } = new AbortController();
  const next = watch(0n, signal, owner("anna"));
  assert.deepEqual([show(await next()), show(await next())], ["mine RUNNING", "end"]);
  const waiting = next();
  await operations.evict(randomUUID(), "theirs");
  await spawn("theirs", "anna");
  assert.equal((await waiting).tenant?.name, "theirs");
  // Its name goes to somebody else while it reads nothing.
  const { revision } = await next();
  await operations.evict(randomUUID(), "mine");
  await spawn("mine", "bert");
  const later = watch(revision, signal, owner("anna"));
  assert.equal(show(await later()), "mine removed");
  assert.ok(changes.revision() > revision);
  const nobody = watch(0n, signal, owner("zoe"));
  assert.equal(show(await nobody()), "end");
});
