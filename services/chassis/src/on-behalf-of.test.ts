import assert from "node:assert/strict";
import { test } from "node:test";
import { createClient, createRouterTransport } from "@connectrpc/connect";
import { AuditService } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import type { AuditPolicy } from "./audit.ts";
import { namePerson } from "./on-behalf-of.ts";
import { defineRoutes, type Handlers } from "./routes.ts";
import { accessTable, idleHandlers } from "./server-fixture.ts";
import { fakeAuditSink, testHarness } from "./testing.ts";

const headerName = "lobsterd-on-behalf-of";
const bob = "spiffe://test/client/bob";
const operator = "spiffe://test/client/operator";

/** A service whose calls of GetCheckpoint and TailRecords are recorded, and where its handlers' own calls end. */
function stage(handlers: Partial<Handlers<typeof AuditService>> = {}) {
  const sink = fakeAuditSink();
  const describe = () => ({ tenant: "", resource: "" });
  const audit: AuditPolicy = { sink, spool: sink, methods: { GetCheckpoint: { kind: "narrowing", describe } } };
  const routes = [defineRoutes(AuditService, { ...idleHandlers, ...handlers })];
  return { sink, harness: testHarness({ routes, access: [accessTable], audit }) };
}

test("a service's word for whom it acts is recorded beside its own name, and a person's is not", async () => {
  const { sink, harness } = stage();
  const headers = { [headerName]: bob };
  await harness.as("service:vm", AuditService).getCheckpoint({}, { headers });
  await harness.as("role:operator", AuditService).getCheckpoint({}, { headers });
  for (const odd of ["bob", "spiffe://test/svc/secrets", `${bob}/x`, "x".repeat(5000)]) {
    await harness.as("service:vm", AuditService).getCheckpoint({}, { headers: { [headerName]: odd } });
  }
  const outcomes = sink.entries.filter(({ phase }) => phase === "outcome");
  assert.deepEqual(
    outcomes.map(({ actor, onBehalfOf }) => [actor, onBehalfOf]),
    [["spiffe://test/svc/vm", bob], [operator, ""], ...Array.from({ length: 4 }, () => ["spiffe://test/svc/vm", ""])],
  );
});

test("what a handler calls, in a stream too, is called for the person that called it, or for whom its caller named", async () => {
  const seen: (string | null)[] = [];
  const transport = createRouterTransport(
    ({ service }) => {
      service(AuditService, {
        queryRecords: (_, { requestHeader }) => {
          seen.push(requestHeader.get(headerName));
          return {};
        },
      });
    },
    { transport: { interceptors: [namePerson] } },
  );
  const onward = createClient(AuditService, transport);
  const { harness } = stage({
    getCheckpoint: async () => {
      await onward.queryRecords({});
      return {};
    },
    async *tailRecords() {
      yield {};
      await onward.queryRecords({});
    },
  });
  await harness.as("role:operator", AuditService).getCheckpoint({});
  await harness.as("service:vm", AuditService).getCheckpoint({}, { headers: { [headerName]: bob } });
  await harness.as("service:vm", AuditService).getCheckpoint({});
  await Array.fromAsync(harness.as("role:operator", AuditService).tailRecords({}));
  await onward.queryRecords({});
  assert.deepEqual(seen, [operator, bob, null, operator, null]);
});
