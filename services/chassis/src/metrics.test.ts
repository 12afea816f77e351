import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { metrics } from "@opentelemetry/api";
import { defineMetrics, specsOf } from "./metrics.ts";
import { captureMetrics, undeclared } from "./testing-metrics.ts";

const catalogue = {
  drops: {
    name: "test.drops",
    kind: "counter",
    unit: "{packet}",
    description: "",
    attributes: { reason: ["spoofed", "late"] },
  },
  duration: {
    name: "test.duration",
    kind: "histogram",
    unit: "s",
    description: "",
    attributes: { path: { boundedBy: "the paths there are" } },
  },
  waiting: { name: "test.waiting", kind: "gauge", unit: "{call}", description: "" },
  totals: {
    name: "test.totals",
    kind: "observable-counter",
    unit: "By",
    description: "",
    attributes: { side: ["in", "out"] },
  },
} as const;

describe("metrics", () => {
  beforeEach(() => metrics.disable());

  test("have the declared name, unit and attributes", async () => {
    using captured = captureMetrics();
    const made = defineMetrics(catalogue);
    made.drops.add(2, { reason: "late" });
    made.duration.record(0.3, { path: "a" });
    made.duration.record(4, { path: "a" });
    using _waiting = made.waiting.observe(() => 7);
    using _totals = made.totals.observe(async () => [
      [10, { side: "in" }],
      [20, { side: "out" }],
    ]);
    const measured = await captured.read();
    assert.deepEqual(measured, [
      { name: "test.drops", unit: "{packet}", attributes: { reason: "spoofed" }, value: 0 },
      { name: "test.drops", unit: "{packet}", attributes: { reason: "late" }, value: 2 },
      { name: "test.drops", unit: "{packet}", attributes: { reason: "other" }, value: 0 },
      { name: "test.duration", unit: "s", attributes: { path: "a" }, value: 2 },
      { name: "test.waiting", unit: "{call}", attributes: {}, value: 7 },
      { name: "test.totals", unit: "By", attributes: { side: "in" }, value: 10 },
      { name: "test.totals", unit: "By", attributes: { side: "out" }, value: 20 },
    ]);
    assert.deepEqual(undeclared(measured, specsOf(made)), []);
  });

  test("never have a value outside of the list, nor an attribute that is not declared", async () => {
    using captured = captureMetrics();
    const made = defineMetrics(catalogue);
    // A caller that the types do not hold, such as one that passes on a reason of another service.
    const given: Record<string, string> = { reason: "tenant demo", tenant: "demo" };
    made.drops.add(1, given as { reason: "late" });
    assert.deepEqual(
      (await captured.read()).filter(({ value }) => value > 0).map(({ attributes }) => attributes),
      [{ reason: "other" }],
    );
  });

  test("are not read while nobody exports, and no more once they are disposed", async () => {
    let reads = 0;
    const read = () => {
      reads += 1;
      return 1;
    };
    const silent = defineMetrics(catalogue);
    silent.drops.add(1);
    silent.waiting.observe(read)[Symbol.dispose]();
    using captured = captureMetrics();
    const made = defineMetrics(catalogue);
    const gauge = made.waiting.observe(read);
    assert.equal(reads, 0);
    await captured.read();
    gauge[Symbol.dispose]();
    await captured.read();
    assert.equal(reads, 1);
  });

  test("a counter begins at 0 for every combination of values it can have", async () => {
    using captured = captureMetrics();
    const counter = { kind: "counter", unit: "", description: "" } as const;
    defineMetrics({
      plain: { ...counter, name: "test.plain" },
      listed: { ...counter, name: "test.listed", attributes: { kind: ["a", "b"] } },
      crossed: { ...counter, name: "test.crossed", attributes: { kind: ["a"], outcome: ["done"] } },
    });
    assert.deepEqual(
      (await captured.read()).map(({ name, attributes, value }) => [name, ...Object.values(attributes), value]),
      [
        ["test.plain", 0],
        ["test.listed", "a", 0],
        ["test.listed", "b", 0],
        ["test.listed", "other", 0],
        ["test.crossed", "a", "done", 0],
        ["test.crossed", "a", "other", 0],
        ["test.crossed", "other", "done", 0],
        ["test.crossed", "other", "other", 0],
      ],
    );
  });

  test("one that cannot be read is left out and hides no other", async () => {
    using captured = captureMetrics();
    const made = defineMetrics({ waiting: catalogue.waiting, totals: catalogue.totals });
    using _broken = made.waiting.observe(() => {
      throw new Error("the database is closed");
    });
    using _whole = made.totals.observe(() => [[1, { side: "in" }]]);
    assert.deepEqual(
      (await captured.read()).map(({ name }) => name),
      ["test.totals"],
    );
  });
});
