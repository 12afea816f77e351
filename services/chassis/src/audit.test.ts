import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  AuditService,
  type QueryRecordsRequest,
  type TailRecordsRequest,
} from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { type AuditEntry, type AuditPolicy, openAuditSpool } from "./audit.ts";
import { defineErrors, reasonOf } from "./errors.ts";
import { defineRoutes } from "./routes.ts";
import { accessTable, idleHandlers } from "./server-fixture.ts";
import { openDatabase } from "./sqlite.ts";
import { captureLogs, fakeAuditSink, testHarness } from "./testing.ts";

const fail = defineErrors("audit.lobsterd", { GONE: Code.NotFound });

/** QueryRecords stands for a widening call, GetCheckpoint for a narrowing one, TailRecords for a widening stream. */
function stage(queryRecords: () => Promise<object> = async () => ({}), outcome: "audit" | "spool" = "audit") {
  const sink = fakeAuditSink();
  const spool = fakeAuditSink();
  let handled = 0;
  const describe = ({ tenant }: QueryRecordsRequest | TailRecordsRequest) => ({ tenant, resource: "log" });
  const audit: AuditPolicy = {
    sink,
    spool,
    methods: {
      QueryRecords: { kind: "widening", outcome, describe },
      GetCheckpoint: { kind: "narrowing", describe: () => ({ tenant: "", resource: "log" }) },
      TailRecords: { kind: "widening", describe },
    },
  };
  const routes = defineRoutes(AuditService, {
    ...idleHandlers,
    queryRecords: async () => {
      handled += 1;
      return await queryRecords();
    },
    getCheckpoint: () => {
      handled += 1;
      return {};
    },
    async *tailRecords() {
      handled += 1;
      yield {};
      yield {};
    },
  });
  const client = testHarness({ routes: [routes], access: [accessTable], audit }).as("role:operator", AuditService);
  return { sink, spool, client, handled: () => handled };
}

const short = (entries: readonly AuditEntry[]) =>
  entries.map(({ action, phase, outcome, reason }) => [action, phase, outcome, reason].filter(Boolean).join(" "));

test("a call is recorded before and after it, with who, what and on which tenant", async () => {
  const { sink, client } = stage();
  await client.queryRecords({ tenant: "demo" });
  assert.deepEqual(short(sink.entries), ["QueryRecords intent unspecified", "QueryRecords outcome success"]);
  const [intent, outcome] = sink.entries;
  assert.deepEqual([intent?.actor, intent?.tenant, intent?.resource], ["spiffe://test/client/operator", "demo", "log"]);
  assert.match(intent?.requestDigest ?? "", /^[0-9a-f]{64}$/);
  assert.equal(intent?.requestDigest, outcome?.requestDigest);
  assert.notEqual(intent?.eventId, outcome?.eventId);
});

test("a widening call does not run when its intent cannot be kept", async () => {
  for (const mode of ["fail", "hang"] as const) {
    const { sink, spool, client, handled } = stage();
    sink.mode = mode;
    const startMs = performance.now();
    const error = await client.queryRecords({}).then(
      () => assert.fail("the call ran"),
      (reason: unknown) => ConnectError.from(reason),
    );
    assert.deepEqual([error.code, reasonOf(error), handled()], [Code.Unavailable, "AUDIT_UNAVAILABLE", 0], mode);
    assert.ok(performance.now() - startMs < 4000);
    await assert.rejects(Array.fromAsync(client.tailRecords({})), /cannot be recorded/);
    assert.equal(handled(), 0);
    const refused = (action: string) => `${action} outcome refused AUDIT_UNAVAILABLE`;
    assert.deepEqual(short(spool.entries), [refused("QueryRecords"), refused("TailRecords")]);
  }
});

test("a narrowing call proceeds and its records wait in the spool", async () => {
  for (const mode of ["fail", "hang"] as const) {
    const { sink, spool, client, handled } = stage();
    sink.mode = mode;
    await client.getCheckpoint({});
    assert.equal(handled(), 1);
    assert.deepEqual(short(spool.entries), ["GetCheckpoint intent unspecified", "GetCheckpoint outcome success"]);
    spool.mode = "fail";
    await client.getCheckpoint({});
    assert.equal(handled(), 2, "even when nothing can keep the record");
  }
});

test("an outcome that audit does not take is spooled, since the effect has happened", async () => {
  const stageOne = stage(async () => {
    stageOne.sink.mode = "fail";
    return {};
  });
  await stageOne.client.queryRecords({});
  assert.deepEqual(short(stageOne.spool.entries), ["QueryRecords outcome success"]);
});

test("an outcome that goes to the spool first is there before the answer, or else in audit", async () => {
  const { sink, spool, client } = stage(undefined, "spool");
  await client.queryRecords({});
  assert.deepEqual(short(sink.entries), ["QueryRecords intent unspecified"]);
  assert.deepEqual(short(spool.entries), ["QueryRecords outcome success"]);
  spool.mode = "fail";
  await client.queryRecords({});
  assert.deepEqual(short(sink.entries).slice(1), ["QueryRecords intent unspecified", "QueryRecords outcome success"]);
});

test("a refused and a failed call have an outcome with its reason", async () => {
  const { sink, client } = stage(async () => {
    throw fail("GONE", "it is gone");
  });
  await assert.rejects(client.queryRecords({ tenant: "UPPER" }));
  await assert.rejects(client.queryRecords({}));
  const outcomes = short(sink.entries).filter((line) => line.includes("outcome"));
  assert.deepEqual(outcomes, ["QueryRecords outcome refused INVALID_FIELD", "QueryRecords outcome refused GONE"]);
  const broken = stage(async () => {
    throw new Error("disk");
  });
  await assert.rejects(broken.client.queryRecords({}));
  assert.equal(short(broken.sink.entries)[1], "QueryRecords outcome failure INTERNAL");
});

test("a stream is recorded at its start and at its end", async () => {
  const { sink, client } = stage();
  const iterator = client.tailRecords({ tenant: "demo" })[Symbol.asyncIterator]();
  await iterator.next();
  assert.deepEqual(short(sink.entries), ["TailRecords intent unspecified"]);
  await iterator.next();
  await iterator.next();
  assert.deepEqual(short(sink.entries), ["TailRecords intent unspecified", "TailRecords outcome success"]);
});

test("the spool delivers in order, once audit is back, and outlives its process", async (t) => {
  const database = openDatabase(":memory:", []);
  const { sink, client } = stage();
  await client.queryRecords({ tenant: "one" });
  await client.queryRecords({ tenant: "two" });
  const target = fakeAuditSink();
  target.mode = "fail";
  const { logger } = captureLogs();
  const before = openAuditSpool(database, target, logger);
  for (const entry of sink.entries) await before.append(entry);
  for (const entry of sink.entries) await before.append(entry);
  await assert.rejects(before.deliver());
  before.close();

  target.mode = "accept";
  const after = openAuditSpool(database, target, logger);
  t.after(() => after.close());
  await after.deliver();
  await after.deliver();
  const [gap, ...records] = target.entries;
  assert.deepEqual(short([gap ?? assert.fail()]), ["MarkAuditGap outcome failure AUDIT_UNAVAILABLE"]);
  assert.deepEqual(records, sink.entries);
  assert.equal(database.prepare("SELECT count(*) AS n FROM chassis_audit_spool").get()?.n, 0);
});

test("the spool hands a record on when it comes, and not a second later", async (t) => {
  const { sink, client } = stage();
  await client.queryRecords({});
  const target = fakeAuditSink();
  const spool = openAuditSpool(openDatabase(":memory:", []), target, captureLogs().logger);
  t.after(() => spool.close());
  // The first periodic delivery finds nothing.
  await new Promise(setImmediate);
  for (const entry of sink.entries) await spool.append(entry);
  await new Promise(setImmediate);
  assert.deepEqual(target.entries, sink.entries);
});

test("a spooled record that audit calls invalid does not hold up the next", async (t) => {
  const database = openDatabase(":memory:", []);
  const { sink, client } = stage();
  await client.queryRecords({});
  const taken: string[] = [];
  const [poison] = sink.entries;
  const { logger, logs } = captureLogs();
  const picky = {
    async append({ eventId }: AuditEntry) {
      if (eventId === poison?.eventId) throw new ConnectError("bad", Code.InvalidArgument);
      taken.push(eventId);
    },
  };
  const spool = openAuditSpool(database, picky, logger);
  t.after(() => spool.close());
  for (const entry of sink.entries) await spool.append(entry);
  await spool.deliver();
  await spool.deliver();
  assert.deepEqual(taken, [sink.entries[1]?.eventId]);
  assert.equal(logs.filter(({ message }) => message === "audit refused a spooled record").length, 1);
  assert.equal(database.prepare("SELECT count(*) AS n FROM chassis_audit_spool WHERE refused = 1").get()?.n, 1);
});
