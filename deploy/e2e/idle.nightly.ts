/** Tenants that are suspended because nobody uses them, and tenants that are not, in real guests. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { durationFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { IdleMode, TenantState } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { uplink } from "../dev/outside.ts";
import { type Attacker, adoptAttacker } from "./network/attacker.ts";
import { type Actor, startActor } from "./network/vantage.ts";
import { assertUnchangedSince, clients, env, eventually, evict, settledInventory } from "./subject.ts";

const thresholdMs = 10_000;
const limitMs = thresholdMs + 5_000;
const callMs = 60_000;
const port = 8080;
let inventory: readonly string[] = [];
let outside: Actor | undefined;
let caller: Attacker;

before(async () => {
  inventory = await settledInventory();
  outside = await startActor(`/run/netns/${env.LOBSTERD_OUTSIDE_NETNS}`);
  await outside.echo({ port });
});
after(async () => {
  await outside?.close();
  await Promise.all([evict("idler"), evict("caller")]);
  await assertUnchangedSince(inventory);
});

async function spawnSleeper(name: string, image: string): Promise<{ slot: number; holdId: string }> {
  const idlePolicy = { mode: IdleMode.AFTER, threshold: durationFromMs(thresholdMs) };
  const { tenant } = await clients.tenants.spawnTenant({ requestId: randomUUID(), name, image, idlePolicy });
  const duration = durationFromMs(300_000);
  const { holdId } = await clients.tenants.acquireHold({ requestId: randomUUID(), name, duration });
  return { slot: tenant?.slot ?? 0, holdId };
}

const get = (name: string) => clients.tenants.getTenant({ name });
const stateOf = async (name: string) => (await get(name)).tenant?.state;
const release = (name: string, holdId: string) =>
  clients.tenants.releaseHold({ requestId: randomUUID(), name, holdId });

/** How long it takes until the suspend of a tenant has begun. */
async function leavesRunning(name: string): Promise<number> {
  const beganMs = performance.now();
  await eventually(`${name} is put to sleep`, limitMs + 10_000, async () =>
    (await stateOf(name)) === TenantState.RUNNING ? undefined : true,
  );
  return performance.now() - beganMs;
}

/** Fails if the tenant does not run for the whole time. */
async function keepsRunning(name: string, ms: number): Promise<void> {
  for (const end = performance.now() + ms; performance.now() < end; await delay(1000))
    assert.equal(await stateOf(name), TenantState.RUNNING);
}

const asleep = (name: string) =>
  eventually(`${name} is suspended`, 60_000, async () =>
    (await stateOf(name)) === TenantState.SUSPENDED ? true : undefined,
  );

let holds: { idler: string; caller: string };

test("a hold keeps an idle tenant awake beyond its threshold", async () => {
  const idler = await spawnSleeper("idler", "base");
  const spawned = await spawnSleeper("caller", "probe");
  caller = adoptAttacker("caller", spawned.slot);
  holds = { idler: idler.holdId, caller: spawned.holdId };
  await keepsRunning("idler", limitMs);
  const { holdCount, activity } = await get("idler");
  assert.deepEqual([holdCount, activity?.awakeBy], [1, ["hold"]]);
});

test("an idle tenant is suspended within its threshold and 5 s; one with only an outbound call of 60 s is not", async (t) => {
  assert.equal(await caller.hold({ host: uplink.outsideAddress, port }), "echo");
  await Promise.all([release("idler", holds.idler), release("caller", holds.caller)]);
  const [tookMs] = await Promise.all([leavesRunning("idler"), keepsRunning("caller", callMs)]);
  t.diagnostic(`the suspend of the idle tenant began after ${Math.round(tookMs)} ms`);
  assert.ok(tookMs >= thresholdMs - 2500 && tookMs <= limitMs, `${tookMs} ms`);
  await asleep("idler");
  assert.deepEqual((await get("caller")).activity?.awakeBy, ["outbound-connection"]);
});

test("the tenant sleeps once its call has ended, and its record says why", async (t) => {
  await outside?.close();
  outside = undefined;
  const tookMs = await leavesRunning("caller");
  t.diagnostic(`the suspend began ${Math.round(tookMs)} ms after the end of the call`);
  assert.ok(tookMs <= limitMs, `${tookMs} ms`);
  await asleep("caller");
  assert.equal((await get("caller")).tenant?.sleepCause, "idle");
  const records = await eventually("a record", 5000, async () => {
    const { records } = await clients.audit.queryRecords({ tenant: "caller", action: "SuspendTenant" });
    return records.length > 0 ? records : undefined;
  });
  assert.deepEqual(
    records.map(({ draft }) => [draft?.reason, draft?.resource.endsWith(":idle")]),
    [["IDLE", true]],
  );
});

test("a guest keeps itself awake by its agent's socket, and sleeps when it lets go", async () => {
  await clients.tenants.resumeTenant({ requestId: randomUUID(), name: "caller" });
  const script = (method: string, path: string) =>
    `require("node:http").request({ socketPath: "/run/workload/agent.sock", method: "${method}", path: "${path}" }, (r) => process.stdout.write(String(r.statusCode))).end()`;
  const tell = async (method: string, path: string) => {
    const { stdout, stderr } = await caller.run({
      command: ["/usr/bin/node", "-e", script(method, path)],
      timeoutMs: 60_000,
      user: "root",
    });
    return `${stdout}${stderr}`;
  };
  assert.equal(await tell("PUT", "/holds/task?seconds=60"), "200");
  await keepsRunning("caller", limitMs);
  assert.deepEqual((await get("caller")).activity?.awakeBy, ["guest-hold"]);
  assert.equal(await tell("DELETE", "/holds/task"), "200");
  await leavesRunning("caller");
  await asleep("caller");
});

test("a tenant that has scheduled something is resumed ahead of it", async (t) => {
  await clients.tenants.resumeTenant({ requestId: randomUUID(), name: "caller" });
  const dueMs = Date.now() + 90_000;
  const jobs = JSON.stringify({ jobs: [{ schedule: { kind: "at" }, state: { nextRunAtMs: dueMs } }] });
  const { exitCode, stderr } = await caller.run({
    command: ["/usr/bin/sh", "-c", `echo '${jobs}' > /root/jobs.json`],
    user: "root",
  });
  assert.equal(exitCode, 0, stderr);
  await leavesRunning("caller");
  await asleep("caller");
  const { tenant } = await get("caller");
  assert.equal(tenant?.nextWakeTime && timestampMs(tenant.nextWakeTime), dueMs - 15_000);
  await eventually("the wake", 120_000, async () =>
    (await stateOf("caller")) === TenantState.RUNNING ? true : undefined,
  );
  t.diagnostic(`it ran ${dueMs - Date.now()} ms ahead of what it had scheduled`);
  assert.ok(Date.now() <= dueMs, `${Date.now() - dueMs} ms late`);
  assert.equal((await get("caller")).tenant?.sleepCause, "schedule");
});
