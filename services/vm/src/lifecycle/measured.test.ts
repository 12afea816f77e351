import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { specsOf } from "@lobsterd/chassis/metrics.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { captureMetrics, undeclared } from "@lobsterd/chassis/testing-metrics.ts";
import { showHost } from "../host-gauges.ts";
import { vmMetrics } from "../metrics.ts";
import { migrations } from "../store/schema.ts";
import { createFakeHost } from "./fake-host.ts";
import { config, startRun, wish } from "./fake-run.ts";
import { spawnSteps } from "./journal.ts";
import { measuredJournal, measuredOperations } from "./measured.ts";

const tenantName = "a-name-that-nothing-else-has";

function ground() {
  const host = createFakeHost();
  const run = startRun(host, openDatabase(":memory:", migrations), { wrapJournal: measuredJournal });
  const gauges = showHost({ ...run, config, parts: host.parts, files: host.files });
  return {
    ...run,
    host,
    operations: measuredOperations(run.operations),
    [Symbol.dispose]: () => {
      for (const gauge of gauges) gauge[Symbol.dispose]();
    },
  };
}

test("every operation is timed under its own name, with its reason if it failed, and every step of it", async () => {
  using captured = captureMetrics();
  using subject = ground();
  const { operations, host } = subject;
  await operations.spawn(wish(tenantName));
  await assert.rejects(operations.spawn(wish(tenantName)));
  await operations.evict(randomUUID(), tenantName);
  host.failing.add("issueGuestIdentity");
  await assert.rejects(operations.spawn(wish(tenantName)));
  const measured = await captured.read();
  const lines = (metric: string) =>
    measured
      .filter(({ name }) => name === metric)
      .map(({ attributes, value }) => [...Object.values(attributes), value].join(" "))
      .sort();
  assert.deepEqual(lines("lobsterd.vm.operation.duration"), ["evict done 1", "spawn done 1", "spawn failed 2"]);
  assert.deepEqual(lines("lobsterd.vm.operations_failed"), ["TENANT_EXISTS 1", "other 1"]);
  const steps = lines("lobsterd.vm.step.duration");
  for (const step of spawnSteps)
    assert.ok(
      steps.some((line) => line.startsWith(`${step} done`)),
      step,
    );
  assert.ok(steps.includes("issue-identity failed 1"), steps.join(", "));
});

test("the host shows its tenants by state and what they hold, and nothing of it names a tenant or a microVM", async () => {
  using captured = captureMetrics();
  using subject = ground();
  const { vmId } = await subject.operations.spawn(wish(tenantName));
  const measured = await captured.read();
  const value = (metric: string, ...attributes: string[]) =>
    measured.find(({ name, attributes: found }) => name === metric && Object.values(found).join() === attributes.join())
      ?.value;
  assert.equal(value("lobsterd.vm.tenants", "running"), 1);
  assert.equal(value("lobsterd.vm.tenants", "failed"), 0);
  assert.equal(value("lobsterd.vm.capacity", "slots", "held"), 1);
  assert.equal(value("lobsterd.vm.capacity", "slots", "limit"), 4);
  assert.equal(value("lobsterd.vm.boots_waiting"), 0);
  assert.deepEqual(undeclared(measured, specsOf(vmMetrics)), []);
  const text = JSON.stringify(measured);
  assert.ok(!text.includes(tenantName) && !text.includes(vmId));
  await subject.operations.evict(randomUUID(), tenantName);
  const after = await captured.read();
  assert.equal(
    after.find(({ name, attributes }) => name === "lobsterd.vm.tenants" && attributes["state"] === "running")?.value,
    0,
  );
});
