import assert from "node:assert/strict";
import { test } from "node:test";
import { AuditService } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { recordRefusals } from "./audit-refusals.ts";
import { defineRoutes } from "./routes.ts";
import { accessTable, idleHandlers } from "./server-fixture.ts";
import { captureLogs, fakeAuditSink, manualClock, type TestCaller, testHarness } from "./testing.ts";

const method = AuditService.method.appendRecord;
const reason = "NOT_ALLOWED";

function stage() {
  const sink = fakeAuditSink();
  const clock = manualClock();
  const recorder = recordRefusals(sink, captureLogs().logger, clock.now);
  const lines = () => sink.entries.map(({ action, actor, resource }) => `${action} ${actor} ${resource}`);
  return { sink, clock, recorder, lines };
}

test("whom the gate refuses is recorded: who it is, if that is verified, and which method, and nothing of the request", async () => {
  const spool = fakeAuditSink();
  const routes = [defineRoutes(AuditService, idleHandlers)];
  const audit = { sink: spool, spool, methods: {} };
  const harness = testHarness({ routes, access: [accessTable], audit });
  for (const caller of ["stranger", "nobody", "role:viewer", "role:operator"] satisfies TestCaller[]) {
    await harness
      .as(caller, AuditService)
      .queryRecords({ tenant: "demo" })
      .catch(() => undefined);
  }
  const resource = "lobsterd.audit.v1.AuditService/QueryRecords";
  const facts = spool.entries.map(({ actor, action, outcome, reason: why, tenant, resource: what, requestDigest }) => {
    assert.deepEqual([action, outcome, tenant, what, requestDigest], ["QueryRecords", "refused", "", resource, ""]);
    return `${actor} ${why}`;
  });
  assert.deepEqual(facts, [
    "spiffe://test/client/stranger NOT_ALLOWED",
    " CERTIFICATE_REQUIRED",
    "spiffe://test/client/viewer NOT_ALLOWED",
  ]);
});

test("a flood of refused calls is a few records, its count, and no less of anybody else's", () => {
  const { recorder, clock, lines } = stage();
  for (let call = 0; call < 5000; call += 1) recorder.refused({ caller: "spiffe://test/svc/net", method, reason });
  recorder.refused({ caller: "spiffe://test/svc/proxy", method, reason });
  assert.equal(lines().length, 21);
  assert.match(lines()[20] ?? "", /^AppendRecord spiffe:\/\/test\/svc\/proxy /);
  clock.advance(10_000);
  recorder.refused({ caller: "spiffe://test/svc/net", method, reason });
  assert.deepEqual(lines().slice(21), [
    "SuppressRefusals spiffe://test/svc/net refusals/4980",
    "AppendRecord spiffe://test/svc/net lobsterd.audit.v1.AuditService/AppendRecord",
  ]);
});

test("what was suppressed is said even if the caller never comes again", () => {
  const { recorder, lines } = stage();
  for (let call = 0; call < 23; call += 1) recorder.refused({ caller: "", method: undefined, reason });
  assert.equal(lines().at(-1), "UnknownMethod  ");
  recorder.flush();
  recorder.flush();
  assert.deepEqual(lines().slice(20), ["SuppressRefusals  refusals/3"]);
});

test("many callers are no way around the limit, and are forgotten when they are quiet", () => {
  const { recorder, sink, clock } = stage();
  const flood = () => {
    for (let call = 0; call < 3000; call += 1)
      recorder.refused({ caller: `spiffe://test/client/${call}`, method, reason });
  };
  flood();
  assert.equal(sink.entries.length, 1000 + 20);
  clock.advance(600_000);
  recorder.flush();
  assert.equal(sink.entries.at(-1)?.resource, "refusals/1980");
  flood();
  assert.equal(sink.entries.length, 2 * 1020 + 1);
});
