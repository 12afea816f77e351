import assert from "node:assert/strict";
import { test } from "node:test";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { migrations } from "../store/schema.ts";
import type { VmStart, VmStartReport } from "../vmm/port.ts";
import { createFakeHost } from "./fake-host.ts";
import { startRun, wish } from "./fake-run.ts";

async function spawned(startReport: Partial<VmStartReport>) {
  const { operations, tenants, told } = startRun(createFakeHost({ startReport }), openDatabase(":memory:", migrations));
  assert.equal((await operations.spawn(wish("demo"))).phase, "running");
  return { origin: tenants.find("demo")?.bootOrigin, told };
}

test("a tenant says whether its guest was booted or came from a template", async () => {
  assert.deepEqual(await spawned({}), { origin: "kernel", told: ["event spawned demo"] });
  const { origin, told } = await spawned({ origin: "template", templateMs: 120 });
  assert.deepEqual([origin, told], ["template", ["event spawned demo"]]);
});

test("a template that could not be used is told, and the tenant runs", async () => {
  const { origin, told } = await spawned({ templateFault: "load-template: the VMM did not load its template" });
  assert.deepEqual([origin, told], ["kernel", ["event template-refused demo", "event spawned demo"]]);
});

test("a guest that began with a template and does not answer is booted, without the template", async () => {
  const host = createFakeHost({ startReport: { origin: "template" } });
  const { start } = host.parts.vmm;
  const orders: (boolean | undefined)[] = [];
  Object.assign(host.parts.vmm, {
    start: (order: VmStart) => {
      orders.push(order.useTemplate);
      return start(order);
    },
  });
  host.failing.add("awaitAgent");
  const { operations, told } = startRun(host, openDatabase(":memory:", migrations));
  await assert.rejects(operations.spawn(wish("demo")));
  assert.deepEqual(orders, [true, false]);
  assert.equal(told[0], "event template-refused demo");
});
