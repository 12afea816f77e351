/** What a tenant was promised before it slept, and what is asked of the host before it wakes. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { RouteState } from "@lobsterd/proto/lobsterd/proxy/v1/proxy_pb.ts";
import { fail } from "../errors.ts";
import type { HostPosture } from "../posture/posture.ts";
import { migrations } from "../store/schema.ts";
import { createFakeHost } from "./fake-host.ts";
import { config, findBase, startRun, wish } from "./fake-run.ts";

type Run = ReturnType<typeof startRun>;

const memory = () => openDatabase(":memory:", migrations);
const suspend = ({ operations }: Run) => operations.suspend(randomUUID(), "demo");
const resume = ({ operations }: Run) => operations.resume(randomUUID(), "demo");
const shop = ["shop.example", "www.shop.example"];

for (const [how, isFresh] of [
  ["woken", false],
  ["booted from its disk", true],
] as const) {
  test(`a tenant that is ${how} has all of its host names again`, async () => {
    const host = createFakeHost();
    const run = startRun(host, memory());
    const { vmId } = await run.operations.spawn({ ...wish("demo"), extraHostNames: shop });
    await suspend(run);
    await run.operations.reconcile();
    const asleep = { generation: 1, state: RouteState.ASLEEP };
    assert.deepEqual([...host.routes], [["demo", { vmId, ...asleep, extraHostNames: shop }]]);
    if (isFresh) host.failing.add("takeGeneration");
    await resume(run);
    assert.equal(run.told.at(-1), `event resumed demo${isFresh ? " fresh" : ""}`);
    const awake = { generation: isFresh ? 3 : 2, state: RouteState.AWAKE };
    assert.deepEqual([...host.routes], [["demo", { vmId, ...awake, extraHostNames: shop }]]);
  });
}

test("a suspend that fails gives all host names back", async () => {
  const host = createFakeHost();
  const run = startRun(host, memory());
  await run.operations.spawn({ ...wish("demo"), extraHostNames: shop });
  host.failing.add("save");
  await assert.rejects(suspend(run));
  assert.deepEqual(host.routes.get("demo")?.extraHostNames, shop);
});

test("while a tenant is suspended its host names are nobody else's", async () => {
  const host = createFakeHost();
  const run = startRun(host, memory());
  await run.operations.spawn({ ...wish("demo"), extraHostNames: shop });
  await suspend(run);
  const thief = run.operations.spawn({ ...wish("thief"), extraHostNames: shop.slice(1) });
  await assert.rejects(thief, (error) => reasonOf(error) === "HOST_NAME_TAKEN");
});

test("the room of a suspended tenant is kept for it", async () => {
  const host = createFakeHost({ description: { cores: 1 } });
  const run = startRun(host, memory(), { config: { vcpuOvercommit: 1 } });
  await run.operations.spawn(wish("demo"));
  await suspend(run);
  await assert.rejects(run.operations.spawn(wish("other")), (error) => reasonOf(error) === "HOST_FULL");
  assert.equal((await resume(run)).phase, "running");
});

test("a host that must not get a tenant does not get one back from its sleep, but keeps one whose suspend fails", async () => {
  const host = createFakeHost();
  let isSound = true;
  const posture: HostPosture = {
    mode: "production",
    check: () => assert.fail("nobody asked for a look"),
    latest: () => undefined,
    admitSpawn: async () => {
      if (!isSound) throw fail("HOST_POSTURE", "told to refuse");
    },
  };
  const run = startRun(host, memory(), { posture });
  await run.operations.spawn(wish("demo"));
  isSound = false;
  host.failing.add("save");
  await assert.rejects(suspend(run));
  assert.equal(run.tenants.find("demo")?.phase, "running");
  host.failing.clear();
  await suspend(run);
  await assert.rejects(resume(run), (error) => reasonOf(error) === "HOST_POSTURE");
  assert.equal(run.tenants.find("demo")?.phase, "suspended");
  isSound = true;
  assert.equal((await resume(run)).phase, "running");
});

test("a tenant that is booted from its disk has the time to start that its image asks for", async () => {
  const host = createFakeHost();
  const limitsMs: number[] = [];
  Object.assign(host.parts.guests, {
    awaitWorkload: async (_tenant: unknown, limitMs: number) => {
      limitsMs.push(limitMs);
      return [];
    },
  });
  const startLimitMs = 7 * config.workloadLimitMs;
  const findImage = async (name: string) => {
    const image = await findBase(name);
    return image && { ...image, startLimitMs };
  };
  const run = startRun(host, memory(), { findImage });
  await run.operations.spawn(wish("demo"));
  await suspend(run);
  host.failing.add("takeGeneration");
  await resume(run);
  assert.equal(run.told.at(-1), "event resumed demo fresh");
  assert.deepEqual(limitsMs, [startLimitMs, startLimitMs]);
});
