import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { after, afterEach, before, test } from "node:test";
import { connect } from "node:tls";
import { RecordPhase } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { RouteState } from "@lobsterd/proto/lobsterd/proxy/v1/proxy_pb.ts";
import { TenantState } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { WebSocket } from "ws";
import { hostOf } from "../client/front.ts";
import { fetchTrace } from "../client/trace.ts";
import { describeInstance } from "../dev/instance.ts";
import { openStack } from "../dev/stack.ts";
import { clearFault, faultReached, setFault } from "./faults/control.ts";
import { killAndReplace } from "./faults/kill.ts";
import { ask, assertUnchangedSince, clients, env, evict, instance, settledInventory, spawn } from "./subject.ts";

const name = "dozer";
const host = hostOf(env, name);
const stack = openStack(describeInstance(instance));
/** A resume takes about 5 s under emulation, and more on a busy machine. */
const patient = { timeoutMs: 60_000 };
let inventory: readonly string[] = [];

before(async () => {
  inventory = await settledInventory();
  await spawn(name, "probe");
});

afterEach(() => clearFault(env.LOBSTERD_RUN_DIR));

after(async () => {
  clearFault(env.LOBSTERD_RUN_DIR);
  await evict(name);
});

const suspend = () => clients.tenants.suspendTenant({ requestId: randomUUID(), name });
const current = async () => (await clients.tenants.getTenant({ name })).tenant;
const routeState = async () => (await clients.routes.getRoute({ tenant: name })).route?.state;
const statusOf = async () => (await ask(name, patient)).status;

async function wakeRecords() {
  const { records } = await clients.audit.queryRecords({ tenant: name, page: { pageSize: 500 } });
  return records.flatMap(({ draft }) => (draft?.action === "WakeTenant" ? [draft] : []));
}

test("a hundred requests to a suspended tenant are answered by it, after one resume", async (context) => {
  await suspend();
  assert.equal(await routeState(), RouteState.ASLEEP);
  const begin = performance.now();
  const statuses = await Promise.all(
    Array.from({ length: 100 }, async () => {
      const status = await statusOf();
      return { status, ms: performance.now() - begin };
    }),
  );
  const ms = statuses.map((answer) => answer.ms).sort((a, b) => a - b);
  context.diagnostic(`answered after ${ms[0]?.toFixed(0)} to ${ms.at(-1)?.toFixed(0)} ms`);
  assert.deepEqual(new Set(statuses.map(({ status }) => status)), new Set([200]));
  const tenant = await current();
  assert.deepEqual([tenant?.state, tenant?.generation], [TenantState.RUNNING, 2]);
  assert.equal(await routeState(), RouteState.AWAKE);
  assert.equal((await wakeRecords()).length, 2);
});

test("the wake is recorded with its cause, and one trace has it from the front's service to the guest", async () => {
  const [intent, outcome] = await wakeRecords();
  assert.deepEqual([intent?.phase, outcome?.phase], [RecordPhase.INTENT, RecordPhase.OUTCOME]);
  for (const record of [intent, outcome]) {
    assert.equal(record?.actor, `spiffe://${env.LOBSTERD_DOMAIN}/svc/proxy`);
    assert.equal(record?.resource, "cause:request");
  }
  const services = ["proxy", "vm", "net", "secrets", "audit", "agent"];
  const spans = await fetchTrace(env.LOBSTERD_TRACES, intent?.traceId ?? "", { services, waitMs: 10_000 });
  assert.deepEqual(new Set(spans.map(({ service }) => service)), new Set(services));
  const names = new Set(spans.map((span) => span.name));
  for (const step of ["wake-tenant", "load-state", "renew-identity", "wake-workload", "return-route"])
    assert.ok(names.has(step), `${step} in ${[...names].join(" ")}`);
  const ids = new Set(spans.map(({ spanId }) => spanId));
  const roots = spans.filter(({ parentSpanId }) => !ids.has(parentSpanId));
  assert.deepEqual(
    roots.map(({ service, name: root }) => [service, root]),
    [["proxy", "wake-tenant"]],
  );
});

test("a WebSocket opens on a suspended tenant", async () => {
  await suspend();
  const [address = "", port = ""] = env.LOBSTERD_HTTPS.split(":");
  const ca = readFileSync(env.LOBSTERD_CA);
  const socket = new WebSocket(`wss://${host}:${port}/echo`, {
    handshakeTimeout: patient.timeoutMs,
    createConnection: () => connect({ host: address, port: Number(port), servername: host, ca }),
  });
  await once(socket, "open");
  const echo = once(socket, "message");
  socket.send("good morning");
  assert.equal(String((await echo)[0]), "good morning");
  socket.terminate();
});

for (const process of ["proxy", "vm", "caddy"] as const) {
  test(`a tenant that sleeps is woken after a kill of ${process}`, async () => {
    await suspend();
    await killAndReplace(stack, process);
    assert.equal(await statusOf(), 200);
  });
}

test("a request that waits while vm is killed in the resume is answered", async () => {
  await suspend();
  setFault(env.LOBSTERD_RUN_DIR, { step: "load-state", moment: "started", action: "hold" });
  const asking = statusOf();
  await faultReached(env.LOBSTERD_RUN_DIR);
  await killAndReplace(stack, "vm", () => clearFault(env.LOBSTERD_RUN_DIR));
  assert.equal(await asking, 200);
});

test("a request that waits for a tenant that is evicted meanwhile is told that there is none", async () => {
  await suspend();
  setFault(env.LOBSTERD_RUN_DIR, { step: "open-state", moment: "started", action: "hold" });
  const asking = ask(name, patient);
  await faultReached(env.LOBSTERD_RUN_DIR);
  const evicting = evict(name);
  clearFault(env.LOBSTERD_RUN_DIR);
  await evicting;
  const { status, body } = await asking;
  assert.deepEqual([status, JSON.parse(body)], [404, { reason: "NO_SUCH_TENANT" }]);
  await assertUnchangedSince(inventory);
});
