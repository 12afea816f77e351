import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, ConnectError } from "@connectrpc/connect";
import { AuditService } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { openAuditSpool, ownOutcome } from "./audit.ts";
import { chassisMetrics } from "./chassis-metrics.ts";
import { specsOf } from "./metrics.ts";
import { defineRoutes } from "./routes.ts";
import { accessTable, idleHandlers } from "./server-fixture.ts";
import { openDatabase } from "./sqlite.ts";
import { captureLogs, fakeAuditSink, testHarness } from "./testing.ts";
import { captureMetrics, undeclared } from "./testing-metrics.ts";

const specs = specsOf(chassisMetrics);

test("a call is counted by method and code, a refused one by why, a stream when it ends", async () => {
  using captured = captureMetrics();
  const handlers = {
    ...idleHandlers,
    queryRecords: () => {
      throw new ConnectError("tenant demo is away", Code.Unavailable);
    },
    async *tailRecords() {
      yield {};
      yield {};
    },
  };
  const { as } = testHarness({ routes: [defineRoutes(AuditService, handlers)], access: [accessTable] });
  const client = as("service:vm", AuditService);
  await client.getCheckpoint({});
  await client.getCheckpoint({});
  await assert.rejects(client.queryRecords({}));
  await Array.fromAsync(client.tailRecords({}));
  await assert.rejects(as("nobody", AuditService).getCheckpoint({}));
  const measured = await captured.read();
  const series = measured.map(({ name, attributes, value }) => [name, ...Object.values(attributes), value].join(" "));
  const method = "rpc.server.call.duration lobsterd.audit.v1.AuditService/";
  assert.deepEqual(series.sort(), [
    "lobsterd.rpc.refused_calls CERTIFICATE_REQUIRED 1",
    `${method}GetCheckpoint OK 2`,
    `${method}QueryRecords UNAVAILABLE 1`,
    `${method}TailRecords OK 1`,
  ]);
  assert.deepEqual(undeclared(measured, specs), []);
});

test("the spool shows what waits for audit, how long it has, and what audit refused", async (t) => {
  using captured = captureMetrics();
  const target = fakeAuditSink();
  target.mode = "fail";
  const spool = openAuditSpool(openDatabase(":memory:", []), target, captureLogs().logger);
  t.after(() => spool.close());
  const shown = async () =>
    Object.fromEntries(
      (await captured.read()).map(({ name, attributes, value }) => [
        [name, ...Object.values(attributes)].join(" "),
        value,
      ]),
    );
  const quiet = {
    "lobsterd.audit_spool.records waiting": 0,
    "lobsterd.audit_spool.records refused": 0,
    "lobsterd.audit_spool.size": 0,
    "lobsterd.audit_spool.age": 0,
  };
  assert.deepEqual(await shown(), quiet);
  const facts = { action: "EvictTenant", tenant: "demo", resource: "", generation: 1 };
  const entry = ownOutcome({ ...facts, outcome: "success", reason: "" });
  await spool.append({ ...entry, time: new Date(Date.now() - 90_000) });
  const waiting = await shown();
  assert.equal(waiting["lobsterd.audit_spool.records waiting"], 1);
  assert.ok(Number(waiting["lobsterd.audit_spool.size"]) > 100);
  assert.ok(Number(waiting["lobsterd.audit_spool.age"]) >= 90);
  target.mode = "accept";
  await spool.deliver();
  assert.deepEqual(await shown(), quiet);
  assert.deepEqual(undeclared(await captured.read(), specs), []);
});
