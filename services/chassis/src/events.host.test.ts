import assert from "node:assert/strict";
import { after, before, type TestContext, test } from "node:test";
import { findBroker, makeBroker, type TestBroker } from "./broker-fixture.ts";
import { connectEvents, type EventBus, type ReceivedEvent } from "./events.ts";
import { waitFor } from "./lifecycle.ts";
import { type Ground, makeGround } from "./server-fixture.ts";
import { captureLogs } from "./testing.ts";
import type { TestLeaf } from "./testing-certificates.ts";

const limits = { timeoutMs: 15_000, intervalMs: 20 };
let ground: Ground;
let program: string | undefined;
let broker: TestBroker | undefined;
before(async () => {
  ground = makeGround();
  program = findBroker(ground.directory);
  if (program !== undefined) broker = await makeBroker(ground, program);
});
after(async () => {
  await broker?.kill();
  ground.remove();
});

test("events published before the broker is there, and over its kill, arrive once handled, in order", async (t) => {
  if (broker === undefined) return t.skip("nats-server cannot be had");
  const vm = busFor(t, "vm", ground.vm, broker);
  const audit = busFor(t, "audit", ground.server, broker);
  // Nobody listens yet: none of these may block or throw.
  const startMs = performance.now();
  for (let index = 0; index < 5; index += 1) vm.publish({ tenant: "demo", name: "primed", data: { index } });
  assert.ok(performance.now() - startMs < 100);

  const received: ReceivedEvent[] = [];
  await audit.subscribe("vm.v1.*.spawned", async (event) => void received.push(event));
  await broker.start();
  const publish = (index: number) => vm.publish({ tenant: "demo", name: "spawned", data: { index } });
  // The subscription begins with the first event after its consumer was made, so probe until one comes through.
  let probes = 0;
  const first = await waitFor(
    "first event",
    async () => {
      if (received.length === 0) publish(--probes);
      return received[0];
    },
    { ...limits, intervalMs: 200 },
  );
  assert.equal(first.service, "vm");
  assert.equal(first.tenant, "demo");
  assert.match(first.id, /^[0-9a-f-]{36}$/);

  for (let index = 0; index < 20; index += 1) publish(index);
  await broker.kill();
  for (let index = 20; index < 40; index += 1) publish(index);
  await broker.start();
  const wanted = Array.from({ length: 40 }, (_, index) => index);
  const numbers = () => [...new Set(received.map(({ data }) => Number(data.index)))].filter((index) => index >= 0);
  await waitFor("all events", async () => (numbers().length === 40 ? true : undefined), limits);
  assert.deepEqual(numbers(), wanted, "in order");
});

test("a handler that fails gets its event again", async (t) => {
  if (broker === undefined) return t.skip("nats-server cannot be had");
  const vm = busFor(t, "vm", ground.vm, broker);
  const audit = busFor(t, "audit", ground.server, broker);
  const attempts = new Map<string, number>();
  await audit.subscribe("vm.v1.*.failed", async ({ id }) => {
    attempts.set(id, (attempts.get(id) ?? 0) + 1);
    if (attempts.get(id) === 1) throw new Error("not now");
  });
  await waitFor(
    "a repeated delivery",
    async () => {
      if (attempts.size === 0) vm.publish({ tenant: "", name: "failed", data: {} });
      return [...attempts.values()].some((count) => count === 2) ? true : undefined;
    },
    { ...limits, intervalMs: 200 },
  );
});

test("the broker keeps a service from publishing another's events", async (t) => {
  if (broker === undefined) return t.skip("nats-server cannot be had");
  const forger = connectEvents({
    config: {
      service: "vm",
      tls: { ...ground.server, platformCaPath: ground.ca.caPath },
      events: { servers: [broker.server] },
    },
    logger: captureLogs().logger,
  });
  t.after(() => forger.close());
  const received: ReceivedEvent[] = [];
  const audit = busFor(t, "audit", ground.server, broker);
  await audit.subscribe("vm.v1.*.forged", async (event) => void received.push(event));
  forger.publish({ tenant: "demo", name: "forged", data: {} });
  const vm = busFor(t, "vm", ground.vm, broker);
  await waitFor(
    "the genuine event",
    async () => {
      if (received.length === 0) vm.publish({ tenant: "demo", name: "forged", data: { genuine: true } });
      return received[0];
    },
    { ...limits, intervalMs: 200 },
  );
  assert.ok(received.every(({ data }) => data.genuine === true));
});

test("a bus whose broker never comes closes at once", async () => {
  const bus = connectEvents({
    config: {
      service: "vm",
      tls: { ...ground.vm, platformCaPath: ground.ca.caPath },
      events: { servers: ["127.0.0.1:1"] },
    },
    logger: captureLogs().logger,
  });
  for (let index = 0; index < 2000; index += 1) bus.publish({ tenant: "demo", name: "lost", data: {} });
  const startMs = performance.now();
  await bus.close();
  assert.ok(performance.now() - startMs < 2500);
});

function busFor(t: TestContext, service: string, leaf: TestLeaf, at: TestBroker): EventBus {
  const { logger } = captureLogs(service);
  const tls = { ...leaf, platformCaPath: ground.ca.caPath };
  const bus = connectEvents({ config: { service, tls, events: { servers: [at.server] } }, logger });
  t.after(() => bus.close());
  return bus;
}
