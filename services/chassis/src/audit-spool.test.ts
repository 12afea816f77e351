import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, ConnectError } from "@connectrpc/connect";
import { type AuditEntry, openAuditSpool, ownOutcome, recordRuns } from "./audit.ts";
import { openAuditCalls } from "./audit-open-calls.ts";
import { defineErrors, toConnectError } from "./errors.ts";
import { openDatabase } from "./sqlite.ts";
import { captureLogs, fakeAuditSink } from "./testing.ts";

const facts = { action: "EvictTenant", tenant: "demo", resource: "", generation: 1 };
const entry = (): AuditEntry => ownOutcome({ ...facts, outcome: "success", reason: "" });
const unknown = (): AuditEntry => ownOutcome({ ...facts, outcome: "unknown", reason: "WRITER_ENDED" });
const settled = () => new Promise(setImmediate);

test("records of one run are numbered from 1, without gaps", () => {
  const [one, two] = [entry(), entry()];
  assert.equal(one.writerBootId, two.writerBootId);
  assert.equal(two.writerSequence, one.writerSequence + 1);
});

test("a spool that is full refuses, and says so, and takes again what is delivered room for", async (t) => {
  const target = fakeAuditSink();
  target.mode = "fail";
  const spool = openAuditSpool(openDatabase(":memory:", []), target, captureLogs().logger, 2000);
  t.after(() => spool.close());
  let kept = 0;
  const fill = async (): Promise<never> => {
    for (;;) {
      await spool.append(entry());
      kept += 1;
    }
  };
  await assert.rejects(fill(), /audit spool is full: 2000 bytes wait/);
  assert.ok(kept >= 3);
  target.mode = "accept";
  await spool.deliver();
  await spool.append(entry());
  await settled();
  assert.equal(target.entries.filter(({ action }) => action === "EvictTenant").length, kept + 1);
});

test("each outage is marked once, in front of what waited in it", async (t) => {
  const target = fakeAuditSink();
  const spool = openAuditSpool(openDatabase(":memory:", []), target, captureLogs().logger);
  t.after(() => spool.close());
  await spool.append(entry());
  await settled();
  for (let outage = 0; outage < 2; outage += 1) {
    target.mode = "fail";
    for (let attempt = 0; attempt < 3; attempt += 1) await spool.append(entry()).then(settled);
    target.mode = "accept";
    await spool.deliver();
  }
  const actions = target.entries.map(({ action }) => action);
  const waited = ["MarkAuditGap", "EvictTenant", "EvictTenant", "EvictTenant"];
  assert.deepEqual(actions, ["EvictTenant", ...waited, ...waited]);
});

test("a call that its process died in is closed as unknown at the next start, once", async (t) => {
  const database = openDatabase(":memory:", []);
  const target = fakeAuditSink();
  const { logger, logs } = captureLogs();
  const open = () => {
    const spool = openAuditSpool(database, target, logger);
    t.after(() => spool.close());
    return openAuditCalls(database, spool, logger);
  };
  const first = open();
  const [left, done] = [unknown(), unknown()];
  first.begin(left);
  first.begin(done);
  first.end(done.eventId);
  first.begin(unknown());
  // The process dies here: `close` never runs.
  const second = open();
  await settled();
  const closed = target.entries.map(({ eventId, outcome }) => `${eventId} ${outcome}`);
  assert.equal(closed.length, 2);
  assert.ok(closed.includes(`${left.eventId} unknown`));
  assert.ok(!closed.includes(`${done.eventId} unknown`));
  assert.equal(logs.filter(({ message }) => /left open/.test(String(message))).length, 1);
  second.close();
  open().close();
  await settled();
  assert.equal(target.entries.length, 2);
});

test("a call whose outcome had been kept is not closed again, and nothing is left waiting", async (t) => {
  const database = openDatabase(":memory:", []);
  const fail = defineErrors("audit.lobsterd", { EVENT_ID_REUSED: Code.InvalidArgument });
  const picky = {
    async append({ outcome }: AuditEntry) {
      if (outcome === "unknown") throw toConnectError(fail("EVENT_ID_REUSED", "another record has this event_id"));
    },
  };
  const { logger, logs } = captureLogs();
  const spool = openAuditSpool(database, picky, logger);
  t.after(() => spool.close());
  await spool.append(unknown());
  await spool.append(entry());
  await spool.deliver();
  assert.equal(database.prepare("SELECT count(*) AS n FROM chassis_audit_spool").get()?.n, 0);
  assert.deepEqual(
    logs.filter(({ level }) => level === "error"),
    [],
  );
});

test("an error that is not audit's word keeps every record", async (t) => {
  const database = openDatabase(":memory:", []);
  const broken = { append: () => Promise.reject(new ConnectError("gone", Code.Unavailable)) };
  const spool = openAuditSpool(database, broken, captureLogs().logger);
  t.after(() => spool.close());
  await spool.append(entry());
  await assert.rejects(spool.deliver());
  assert.equal(database.prepare("SELECT count(*) AS n FROM chassis_audit_spool").get()?.n, 1);
});

test("a run of a service has a record at its start and at its end, so that a crash is a start without an end before it", async () => {
  const database = openDatabase(":memory:", []);
  const target = fakeAuditSink();
  const { logger } = captureLogs();
  const run = () => {
    const steps: Array<() => void> = [];
    const spool = openAuditSpool(database, target, logger);
    recordRuns(spool, { onClose: (step) => void steps.push(step) }, logger);
    steps.push(() => spool.close());
    return {
      stop: () => {
        for (const step of steps) step();
      },
      crash: () => spool.close(),
    };
  };
  run().crash();
  run().stop();
  const last = run();
  await settled();
  last.crash();
  assert.deepEqual(
    target.entries.map(({ action }) => action),
    ["StartService", "StartService", "StopService", "StartService"],
  );
});
