import assert from "node:assert/strict";
import { test } from "node:test";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { captureLogs } from "@lobsterd/chassis/testing.ts";
import { createFakeHost } from "../lifecycle/fake-host.ts";
import { createTurns } from "../lifecycle/turns.ts";
import { exampleTenant } from "../store/example-tenant.ts";
import type { TenantRecord } from "../store/tenant-record.ts";
import { createRenewals } from "./renewals.ts";

const tenant = (name: string, phase: TenantRecord["phase"] = "running"): TenantRecord =>
  exampleTenant({ name, vmId: name.padEnd(32, "0"), phase });
const minuteMs = 60_000;

function subject() {
  const host = createFakeHost();
  const { logger, logs } = captureLogs();
  let nowMs = Date.now();
  const renewals = createRenewals({ ...host.parts, logger, now: () => nowMs });
  const turns = createTurns();
  const rows = new Map<string, TenantRecord>();
  const store = { all: () => [...rows.values()], findByVm: (vmId: string) => rows.get(vmId) };
  const put = (...tenants: readonly TenantRecord[]) => {
    for (const one of tenants) rows.set(one.vmId, one);
  };
  const { signal } = new AbortController();
  return {
    host,
    logs,
    turns,
    put,
    issue: (name: string, minutes: number) =>
      renewals.issued(tenant(name).vmId, timestampFromMs(nowMs + minutes * minuteMs)),
    pass: (minutes: number) => {
      nowMs += minutes * minuteMs;
    },
    /** The names of those that this run renewed. */
    run: async (...tenants: readonly TenantRecord[]) => {
      const before = host.renewed.length;
      rows.clear();
      put(...tenants);
      await renewals.run({ tenants: store, turns }, signal);
      return host.renewed.slice(before).map((vmId) => vmId.replace(/0+$/, ""));
    },
  };
}

test("an identity is renewed at half of its life, and again at half of the next one", async () => {
  const { issue, pass, run } = subject();
  issue("a", 60);
  pass(29);
  assert.deepEqual(await run(tenant("a")), []);
  pass(1);
  assert.deepEqual(await run(tenant("a")), ["a"]);
  assert.deepEqual(await run(tenant("a")), []);
});

test("a guest that this process does not know is renewed once", async () => {
  const { run } = subject();
  assert.deepEqual(await run(tenant("a"), tenant("b")), ["a", "b"]);
  assert.deepEqual(await run(tenant("a"), tenant("b")), []);
});

test("only what runs is renewed, and what is being made is not forgotten", async () => {
  const { issue, run } = subject();
  issue("a", 60);
  assert.deepEqual(await run(tenant("a", "spawning"), tenant("b", "failed")), []);
  assert.deepEqual(await run(tenant("a")), []);
});

test("one that fails is tried again at the next run and holds up no other", async () => {
  const { host, logs, run } = subject();
  host.failing.add("renewGuestIdentity");
  assert.deepEqual(await run(tenant("a"), tenant("b")), []);
  assert.equal(logs.filter(({ message }) => message === "guest identity could not be renewed").length, 2);
  host.failing.clear();
  assert.deepEqual(await run(tenant("a"), tenant("b")), ["a", "b"]);
});

test("what became of a tenant since a run began decides whether and as what it is renewed", async () => {
  const { host, put, run } = subject();
  const names = ["a", "b", "c", "d", "slept", "woken", "evicted"];
  const asked: string[] = [];
  const [fourAreAsked, goOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const { renewIdentity } = host.parts.guests;
  host.parts.guests.renewIdentity = async (one, certify, signal) => {
    asked.push(`${one.name} ${one.generation}`);
    if (asked.length === 4) fourAreAsked.resolve();
    await goOn.promise;
    await renewIdentity(one, certify, signal);
  };
  const running = run(...names.map((name) => tenant(name)));
  await fourAreAsked.promise;
  put(tenant("slept", "suspended"), { ...tenant("woken"), generation: 3 }, tenant("evicted", "evicting"));
  goOn.resolve();
  await running;
  assert.deepEqual(asked, ["a 2", "b 2", "c 2", "d 2", "woken 3"]);
});

test("a renewal takes its tenant's turn, and leaves one that is busy to the next run", async () => {
  const { host, turns, run } = subject();
  const { renewIdentity } = host.parts.guests;
  const wasBusy: boolean[] = [];
  host.parts.guests.renewIdentity = async (one, certify, signal) => {
    wasBusy.push(turns.isBusy(one.vmId));
    await renewIdentity(one, certify, signal);
  };
  const waking = Promise.withResolvers<void>();
  const wake = turns.take(tenant("a").vmId, () => waking.promise);
  assert.deepEqual(await run(tenant("a"), tenant("b")), ["b"]);
  waking.resolve();
  await wake;
  assert.deepEqual(await run(tenant("a"), tenant("b")), ["a"]);
  assert.deepEqual(wasBusy, [true, true]);
});
