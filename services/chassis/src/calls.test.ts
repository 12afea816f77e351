import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema } from "@lobsterd/proto/google/rpc/error_details_pb.ts";
import { AuditService } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { type AccessTable, allow } from "./access.ts";
import { callerName, callerOf } from "./caller.ts";
import { defineErrors, reasonOf } from "./errors.ts";
import { defineRoutes, type Handlers, unimplemented } from "./routes.ts";
import { accessTable, idleHandlers } from "./server-fixture.ts";
import { type TestCaller, testHarness } from "./testing.ts";

function harness(
  handlers: Partial<Handlers<typeof AuditService>> = {},
  extra: Partial<Parameters<typeof testHarness>[0]> = {},
) {
  const routes = [defineRoutes(AuditService, { ...idleHandlers, ...handlers })];
  return testHarness({ routes, access: [accessTable], service: "audit", ...extra });
}

async function failureOf(call: Promise<unknown>): Promise<ConnectError> {
  return await call.then(
    () => assert.fail("the call succeeded"),
    (error: unknown) => ConnectError.from(error),
  );
}

test("every caller and method of the allow table, and nobody else", async () => {
  const calls = harness({ appendRecord: () => ({}), getInclusionProof: () => ({}), getConsistencyProof: () => ({}) });
  const callers: TestCaller[] = [
    "service:vm",
    "service:net",
    "role:operator",
    "role:viewer",
    "role:owner",
    "stranger",
    "nobody",
  ];
  const allowed: Record<string, TestCaller[]> = {
    appendRecord: ["service:vm"],
    queryRecords: ["service:vm", "role:operator"],
    getCheckpoint: ["service:vm", "role:operator"],
    getConsistencyProof: [],
  };
  for (const caller of callers) {
    const client = calls.as(caller, AuditService);
    const attempts = {
      appendRecord: () => client.appendRecord({}),
      queryRecords: () => client.queryRecords({}),
      getCheckpoint: () => client.getCheckpoint({}),
      getConsistencyProof: () => client.getConsistencyProof({ oldTreeSize: 1n, newTreeSize: 2n }),
    };
    for (const [method, attempt] of Object.entries(attempts)) {
      const code = await attempt().then(
        () => undefined,
        (error: unknown) => ConnectError.from(error).code,
      );
      const refused = caller === "nobody" ? Code.Unauthenticated : Code.PermissionDenied;
      // An empty AppendRecord is past the gate when it is called invalid.
      const passed = method === "appendRecord" ? Code.InvalidArgument : undefined;
      assert.equal(code, allowed[method]?.includes(caller) === true ? passed : refused, `${caller} ${method}`);
    }
  }
});

test("a method without a row, a handler or a name stops the start", () => {
  const rows: Partial<AccessTable<typeof AuditService>> = { queryRecords: [] };
  assert.throws(() => allow(AuditService, rows as AccessTable<typeof AuditService>), /no row in the allow table/);
  const routes = defineRoutes(AuditService, idleHandlers);
  assert.throws(() => testHarness({ routes: [routes], access: [] }), /no allow table/);
  assert.throws(() => testHarness({ routes: [routes], access: [accessTable, accessTable] }), /two allow tables/);
  assert.throws(() => harness({}, { methodDeadlinesMs: { queryRecords: 1 } }), /no served service has a method/);
  const { queryRecords: _, ...missing } = idleHandlers;
  assert.throws(() => defineRoutes(AuditService, missing as Handlers<typeof AuditService>), /no handler/);
});

test("a handler sees its verified caller", async () => {
  const calls = harness({ getCheckpoint: (_request, context) => ({ signedNote: callerName(callerOf(context)) }) });
  const answer = await calls.as("role:operator", AuditService).getCheckpoint({});
  assert.equal(answer.signedNote, "spiffe://test/client/operator");
});

test("an invalid message names its field, in a stream too, and the handler never sees it", async () => {
  let handled = 0;
  const calls = harness({
    async *tailRecords() {
      handled += 1;
      yield {};
    },
  });
  const client = calls.as("service:vm", AuditService);
  const unary = await failureOf(
    client.appendRecord({ record: { time: { seconds: 1n }, eventId: "x", action: "Do", phase: 1 } }),
  );
  const [info] = unary.findDetails(ErrorInfoSchema);
  assert.deepEqual([unary.code, info?.reason, info?.domain], [Code.InvalidArgument, "INVALID_FIELD", "audit.lobsterd"]);
  assert.deepEqual(info?.metadata, { field: "record.event_id" });
  const stream = await failureOf(Array.fromAsync(client.tailRecords({ tenant: "UPPER" })));
  assert.deepEqual([stream.code, reasonOf(stream), handled], [Code.InvalidArgument, "INVALID_FIELD", 0]);
});

test("a handler's failure is hidden from the caller and kept in the log", async () => {
  const boom = () => {
    throw new Error("database password is hunter2");
  };
  const calls = harness({
    queryRecords: boom,
    async *tailRecords() {
      yield {};
      boom();
    },
  });
  const client = calls.as("service:vm", AuditService);
  for (const call of [client.queryRecords({}), Array.fromAsync(client.tailRecords({}))]) {
    const error = await failureOf(call);
    assert.deepEqual([error.code, reasonOf(error), error.rawMessage], [Code.Internal, "INTERNAL", "internal error"]);
  }
  const failures = calls.logs.filter(({ message }) => message === "call failed");
  assert.equal(failures.length, 2);
  assert.match(JSON.stringify(failures[0]), /hunter2/);
});

test("what a part that is away failed with is kept in the log", async () => {
  const fail = defineErrors("audit.lobsterd", { STORE_AWAY: Code.Unavailable });
  const queryRecords = () => {
    throw fail("STORE_AWAY", "the store is away", { cause: new Error("connect ECONNREFUSED /run/store.sock") });
  };
  const calls = harness({ queryRecords });
  const error = await failureOf(calls.as("service:vm", AuditService).queryRecords({}));
  assert.deepEqual([reasonOf(error), error.rawMessage], ["STORE_AWAY", "the store is away"]);
  const [failure] = calls.logs.filter(({ message }) => message === "call failed");
  assert.match(JSON.stringify(failure), /ECONNREFUSED/);
});

test("what is not built says so, as a stream too", async () => {
  const client = harness({ queryRecords: unimplemented }).as("service:vm", AuditService);
  for (const call of [client.queryRecords({}), Array.fromAsync(client.tailRecords({}))]) {
    const error = await failureOf(call);
    assert.deepEqual([error.code, reasonOf(error)], [Code.Unimplemented, "NOT_IMPLEMENTED"]);
  }
});

test("a handler that ignores its deadline does not hold its caller", async () => {
  let aborted = false;
  const calls = harness(
    {
      queryRecords: async (_request, { signal }) => {
        signal.addEventListener("abort", () => {
          aborted = true;
        });
        return await new Promise<never>(() => undefined);
      },
    },
    { defaultDeadlineMs: 30 },
  );
  const error = await failureOf(calls.as("service:vm", AuditService).queryRecords({}));
  assert.deepEqual([error.code, reasonOf(error), aborted], [Code.DeadlineExceeded, "DEADLINE_EXCEEDED", true]);
});
