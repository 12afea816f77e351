import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
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
import { createCheckpointer } from "./log/checkpointer.ts";
import { fileHeader, parseFrame } from "./log/frame.ts";
import { createOwnAuditPolicy } from "./own-audit-policy.ts";
import { draftOf } from "./record-message.ts";
import { createRoutes } from "./routes.ts";
import { openTestLog } from "./testing/test-log.ts";
import { openCheckpoint } from "./tree/checkpoint.ts";
import { verifyConsistency, verifyInclusion } from "./tree/proofs.ts";
import { createNoteSigner } from "./tree/signed-note.ts";

async function start() {
  const { log, clock } = await openTestLog();
  const { privateKey } = generateKeyPairSync("ed25519");
  const signer = createNoteSigner("test/audit/host-1", privateKey);
  const checkpointer = createCheckpointer({
    ...{ tree: () => log.tree(), signer, now: () => clock.ms, last: undefined },
    signed: () => undefined,
  });
  const harness = testHarness({
    ...{ routes: createRoutes({ log, checkpointer }), access, service: "audit" },
    audit: createOwnAuditPolicy(log, "spiffe://test/svc/audit", "0.1.0"),
  });
  const as = (caller: TestCaller) => harness.as(caller, AuditService);
  return { log, clock, as, checkpointer, verifier: signer.verifier };
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

describe("checkpoints and proofs", () => {
  it("show each record to be in the signed tree, and each tree to begin with the ones before", async () => {
    const { as, checkpointer, verifier } = await start();
    const vm = as("service:vm");
    const viewer = as("role:viewer");
    const trees: { size: number; root: Buffer }[] = [];
    for (let number = 0; number < 12; number += 1) {
      await vm.appendRecord({ record: draft(number) });
      checkpointer.signIfGrown();
      const { signedNote } = await viewer.getCheckpoint({});
      trees.push(openCheckpoint(signedNote, verifier));
    }
    const newest = trees.at(-1) ?? assert.fail("no checkpoint");
    const { records } = await viewer.queryRecords({});
    for (const { sequence, leafHash: hash } of records.slice(0, newest.size)) {
      const { hashes } = await viewer.getInclusionProof({ sequence, treeSize: BigInt(newest.size) });
      assert.ok(verifyInclusion({ ...newest, leafHash: hash, sequence: Number(sequence), proof: hashes }));
    }
    for (const { size, root } of trees) {
      const sizes = { oldTreeSize: BigInt(size), newTreeSize: BigInt(newest.size) };
      const { hashes: proof } = await viewer.getConsistencyProof(sizes);
      const roots = { oldRoot: root, newRoot: newest.root };
      assert.ok(verifyConsistency({ oldSize: size, newSize: newest.size, ...roots, proof }));
    }
    const outside = fails(Code.OutOfRange, "NOT_IN_TREE");
    await assert.rejects(viewer.getInclusionProof({ sequence: 0n, treeSize: 99n }), outside);
    await assert.rejects(viewer.getInclusionProof({ sequence: 5n, treeSize: 5n }), outside);
    await assert.rejects(viewer.getConsistencyProof({ oldTreeSize: 1n, newTreeSize: 99n }), outside);
    await assert.rejects(viewer.getConsistencyProof({ oldTreeSize: 5n, newTreeSize: 4n }), outside);
  });

  it("come with an export that is the log itself, byte by byte, and can go on where it ended", async () => {
    const { as, log, verifier } = await start();
    for (let number = 0; number < 5; number += 1) await as("service:vm").appendRecord({ record: draft(number) });
    const take = async (startOffset: bigint) => {
      const parts = await Array.fromAsync(as("role:operator").exportRecords({ startOffset }));
      const bytes = Buffer.concat(parts.map(({ part }) => (part.case === "log" ? part.value : Buffer.alloc(0))));
      const note = parts.at(-1)?.part;
      return { bytes, checkpoint: openCheckpoint(note?.case === "signedNote" ? note.value : "", verifier) };
    };
    const whole = await take(0n);
    // The call itself is in it, before it shows anything.
    assert.equal(whole.checkpoint.size, 6);
    assert.deepEqual(whole.checkpoint.root, Buffer.from(log.tree().rootAt(6)));
    let offset = fileHeader.length;
    for (let sequence = 0; sequence < 6; sequence += 1) {
      const parsed = parseFrame(whole.bytes.subarray(offset));
      assert.ok(parsed.kind === "frame" && parsed.frame.sequence === sequence);
      offset += parsed.frame.bytes;
    }
    assert.equal(offset, whole.bytes.length);
    const rest = await take(100n);
    assert.deepEqual(rest.bytes.subarray(0, offset - 100), whole.bytes.subarray(100));
    await assert.rejects(take(1_000_000n), fails(Code.OutOfRange, "NOT_IN_TREE"));
  });

  it("come with a tail that goes on from any record, waits for more, and is itself recorded", async () => {
    const { as } = await start();
    const vm = as("service:vm");
    for (let number = 0; number < 3; number += 1) await vm.appendRecord({ record: draft(number) });
    const ended = new AbortController();
    // The deadline ends the server's side: nobody in memory notices that the caller went away.
    const stream = as("role:viewer").tailRecords({ startSequence: 1n }, { signal: ended.signal, timeoutMs: 3000 });
    const tail = stream[Symbol.asyncIterator]();
    const take = async () => {
      const { record } = (await tail.next()).value ?? assert.fail("the tail ended");
      return `${record?.sequence} ${record?.draft?.action}`;
    };
    assert.deepEqual([await take(), await take(), await take()], ["1 SpawnTenant", "2 SpawnTenant", "3 TailRecords"]);
    const waiting = take();
    await vm.appendRecord({ record: draft(3, { action: "EvictTenant" }) });
    assert.equal(await waiting, "4 EvictTenant");
    ended.abort();
    await assert.rejects(take(), (error) => ConnectError.from(error).code === Code.Canceled);
  });
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
      assert.equal(await outcome(client.getCheckpoint({})), mayQuery ? "allowed" : refusal);
      const own = client.getLatestOwnRecord({ tenant: "demo", action: "SealState" });
      assert.equal(await outcome(own), caller === "service:vm" ? "allowed" : refusal);
      const exported = await outcome(Array.fromAsync(client.exportRecords({})));
      assert.equal(exported, caller === "role:operator" ? "allowed" : refusal);
    });
  }
});
