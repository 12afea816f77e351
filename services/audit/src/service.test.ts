import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { type TestCaller, testHarness } from "@lobsterd/chassis/testing.ts";
import {
  AuditService,
  type RecordDraft,
  RecordDraftSchema,
  RecordOutcome,
  RecordPhase,
} from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { access } from "./access.ts";
import { encodeLeaf, leafHash } from "./log/canonical.ts";
import { draftOf } from "./record-message.ts";
import { createRoutes } from "./routes.ts";
import { openTestLog } from "./testing/test-log.ts";

async function start() {
  const { log, clock } = await openTestLog();
  const harness = testHarness({ routes: createRoutes({ log }), access, service: "audit" });
  return { log, clock, as: (caller: TestCaller) => harness.as(caller, AuditService) };
}

function draft(number: number, changes: MessageInitShape<typeof RecordDraftSchema> = {}): RecordDraft {
  return create(RecordDraftSchema, {
    eventId: `01939D0E-7F00-7000-8000-${String(number).padStart(12, "0")}`,
    time: timestampFromMs(1_764_000_000_123 + number),
    actor: "spiffe://test/client/operator",
    action: "SpawnTenant",
    tenant: "demo",
    resource: "vm/1",
    phase: RecordPhase.OUTCOME,
    outcome: RecordOutcome.SUCCESS,
    requestDigest: "0".repeat(64),
    traceId: "1".repeat(32),
    generation: 2,
    serviceVersion: "0.1.0",
    ...changes,
  });
}

const fails = (code: Code, reason: string) => (error: unknown) =>
  error instanceof ConnectError && error.code === code && reasonOf(error) === reason;

describe("AppendRecord and QueryRecords", () => {
  it("keep what a service appends, with the writer from its certificate", async () => {
    const { as } = await start();
    const answer = await as("service:secrets").appendRecord({ record: draft(1) });
    assert.equal(answer.sequence, 0n);
    assert.equal(answer.treeSize, 1n);
    const { records, page } = await as("role:operator").queryRecords({ tenant: "demo" });
    const [record] = records;
    assert.equal(page?.nextPageToken, "");
    assert.equal(records.length, 1);
    assert.equal(record?.writer, "spiffe://test/svc/secrets");
    assert.deepEqual(record.draft, draft(1, { eventId: draft(1).eventId.toLowerCase() }));
    assert.deepEqual(record.leafHash, answer.leafHash);
    // Whoever holds the answer can compute the hash: nothing that is hashed is left out of it.
    const recomputed = leafHash(
      encodeLeaf({
        sequence: Number(record.sequence),
        appendTime: record.appendTime ?? assert.fail("no append time"),
        bootId: record.bootId,
        writer: record.writer,
        draft: draftOf(record.draft),
      }),
    );
    assert.deepEqual(Buffer.from(answer.leafHash), recomputed);
  });

  it("record a repeated event once, whatever the case of its id", async () => {
    const { as } = await start();
    const vm = as("service:vm");
    const first = await vm.appendRecord({ record: draft(1) });
    const again = await vm.appendRecord({ record: draft(1, { eventId: draft(1).eventId.toLowerCase() }) });
    assert.deepEqual(again, first);
    await assert.rejects(
      vm.appendRecord({ record: draft(1, { tenant: "other" }) }),
      fails(Code.InvalidArgument, "EVENT_ID_REUSED"),
    );
  });

  it("page by opaque tokens and refuse one that is not theirs", async () => {
    const { as } = await start();
    for (let number = 0; number < 7; number += 1) await as("service:vm").appendRecord({ record: draft(number) });
    const viewer = as("role:viewer");
    const sequences: bigint[] = [];
    let pageToken = "";
    do {
      const { records, page } = await viewer.queryRecords({ page: { pageSize: 3, pageToken } });
      sequences.push(...records.map(({ sequence }) => sequence));
      pageToken = page?.nextPageToken ?? "";
    } while (pageToken !== "");
    assert.deepEqual(sequences, [0n, 1n, 2n, 3n, 4n, 5n, 6n]);
    for (const token of [
      "x",
      "MQ==",
      Buffer.from("1-5").toString("base64url"),
      Buffer.from("1a").toString("base64url"),
    ]) {
      await assert.rejects(
        viewer.queryRecords({ page: { pageSize: 3, pageToken: token } }),
        fails(Code.InvalidArgument, "INVALID_PAGE_TOKEN"),
      );
    }
  });

  it("select by append time, start included and end not", async () => {
    const { as, clock } = await start();
    for (let number = 0; number < 4; number += 1) {
      clock.ms = 1_764_000_100_000 + number;
      await as("service:vm").appendRecord({ record: draft(number) });
    }
    const { records } = await as("role:operator").queryRecords({
      startTime: timestampFromMs(1_764_000_100_001),
      endTime: { ...timestampFromMs(1_764_000_100_002), nanos: 2_000_001 },
    });
    assert.deepEqual(
      records.map(({ sequence }) => sequence),
      [1n, 2n],
    );
    await assert.rejects(
      as("role:operator").queryRecords({ startTime: timestampFromMs(2), endTime: timestampFromMs(1) }),
      fails(Code.InvalidArgument, "INVALID_TIME_RANGE"),
    );
  });

  const invalid: Array<[string, MessageInitShape<typeof RecordDraftSchema>, string]> = [
    ["an intent with an outcome", { phase: RecordPhase.INTENT }, "INVALID_RECORD"],
    ["an outcome without one", { outcome: RecordOutcome.UNSPECIFIED }, "INVALID_RECORD"],
    ["no phase", { phase: RecordPhase.UNSPECIFIED }, "INVALID_FIELD"],
    ["an event id that is no UUID", { eventId: "x" }, "INVALID_FIELD"],
    ["a tenant that is no name", { tenant: "Not A Name" }, "INVALID_FIELD"],
    ["an actor that is no SPIFFE URI", { actor: "root" }, "INVALID_FIELD"],
    ["free text", { resource: "line\nbreak" }, "INVALID_FIELD"],
  ];
  for (const [what, changes, reason] of invalid) {
    it(`refuse ${what}`, async () => {
      const { as, log } = await start();
      await assert.rejects(
        as("service:vm").appendRecord({ record: draft(1, changes) }),
        fails(Code.InvalidArgument, reason),
      );
      assert.equal(
        (await log.query({ tenant: "", action: "", actor: "", traceId: "", from: 0, limit: 1 })).records.length,
        0,
      );
    });
  }
});

describe("who may call", () => {
  const callers: TestCaller[] = [
    ...(["service:vm", "service:net", "service:proxy", "service:secrets"] as const),
    ...([
      "service:audit",
      "service:caddy",
      "role:operator",
      "role:viewer",
      "role:owner",
      "stranger",
      "nobody",
    ] as const),
  ];
  for (const caller of callers) {
    it(`${caller}: as in the table`, async () => {
      const { as } = await start();
      const client = as(caller);
      const mayAppend = ["service:vm", "service:net", "service:proxy", "service:secrets"].includes(caller);
      const mayQuery = caller === "role:operator" || caller === "role:viewer";
      const outcome = async (call: Promise<unknown>) => {
        try {
          await call;
          return "allowed";
        } catch (error) {
          return reasonOf(error);
        }
      };
      const refusal = caller === "nobody" ? "CERTIFICATE_REQUIRED" : "NOT_ALLOWED";
      assert.equal(await outcome(client.appendRecord({ record: draft(1) })), mayAppend ? "allowed" : refusal);
      assert.equal(await outcome(client.queryRecords({})), mayQuery ? "allowed" : refusal);
      assert.equal(await outcome(client.getCheckpoint({})), mayQuery ? "NOT_IMPLEMENTED" : refusal);
    });
  }
});
