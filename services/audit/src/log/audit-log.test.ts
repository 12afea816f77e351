import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { SimulatedDisk } from "../testing/simulated-disk.ts";
import { draft, eventIdsOf, everything, openTestLog, writer } from "../testing/test-log.ts";
import { verifyInclusion } from "../tree/proofs.ts";
import { decodeLeaf, encodeLeaf, leafHash } from "./canonical.ts";
import { fileHeader } from "./frame.ts";
import { RecordIndex } from "./record-index.ts";

const reason = (expected: string) => (error: unknown) => reasonOf(error) === expected;

describe("append", () => {
  it("numbers records from 0 without gaps and answers with hash and tree size", async () => {
    const { log } = await openTestLog();
    const first = await log.append(draft(1), writer);
    const crowd = await Promise.all([2, 3, 4].map((number) => log.append(draft(number), writer)));
    assert.equal(first.sequence, 0);
    assert.equal(first.treeSize, 1);
    assert.deepEqual(
      crowd.map(({ sequence }) => sequence),
      [1, 2, 3],
    );
    assert.deepEqual(
      crowd.map(({ treeSize }) => treeSize),
      [4, 4, 4],
    );
    const { records } = await log.query({ ...everything, from: 0, limit: 10 });
    for (const [at, { record, leafHash: hash }] of records.entries()) {
      assert.equal(record.writer, writer);
      assert.equal(record.bootId, "00000000-0000-4000-8000-000000000001");
      assert.deepEqual(record.draft, draft(at + 1));
      assert.deepEqual(hash, leafHash(encodeLeaf(record)));
      assert.deepEqual(Buffer.from([first, ...crowd][at]?.leafHash ?? []), hash);
    }
    await log.close();
  });

  it("commits what waits together with one fsync", async () => {
    const disk = new SimulatedDisk();
    let syncs = 0;
    const { sync } = disk;
    disk.sync = () => {
      syncs += 1;
      return sync.call(disk);
    };
    const { log } = await openTestLog(disk);
    syncs = 0;
    await Promise.all(Array.from({ length: 64 }, (_, number) => log.append(draft(number), writer)));
    assert.equal(syncs, 1);
    await log.close();
  });

  it("gives no receipt before the fsync", async () => {
    const disk = new SimulatedDisk();
    const { log } = await openTestLog(disk);
    const gate = Promise.withResolvers<void>();
    const { sync } = disk;
    disk.sync = async () => {
      await gate.promise;
      await sync.call(disk);
    };
    let receipts = 0;
    const appended = log.append(draft(1), writer).then(() => {
      receipts += 1;
    });
    for (let turn = 0; turn < 50; turn += 1) await Promise.resolve();
    await new Promise(setImmediate);
    assert.equal(receipts, 0);
    gate.resolve();
    await appended;
    await log.close();
  });

  it("records one event once: waiting, durable, indexed and after a restart", async () => {
    const disk = new SimulatedDisk();
    const { log } = await openTestLog(disk);
    const [waiting, again] = await Promise.all([log.append(draft(1), writer), log.append(draft(1), writer)]);
    const unindexed = await log.append(draft(1), writer);
    await log.query({ ...everything, from: 0, limit: 1 });
    const indexed = await log.append(draft(1), writer);
    await log.append(draft(2), writer);
    await log.close();
    const { log: restarted } = await openTestLog(disk);
    const afterRestart = await restarted.append(draft(1), writer);
    for (const receipt of [again, unindexed, indexed, afterRestart]) {
      assert.equal(receipt.sequence, waiting.sequence);
      assert.equal(receipt.treeSize, waiting.treeSize);
      assert.deepEqual(Buffer.from(receipt.leafHash), Buffer.from(waiting.leafHash));
    }
    assert.deepEqual(await eventIdsOf(restarted), [draft(1).eventId, draft(2).eventId]);
    await restarted.close();
  });

  it("refuses an event id with other content or from another writer", async () => {
    const { log } = await openTestLog();
    const changed = draft(1, { outcome: 1, phase: 2 });
    const waiting = log.append(draft(1), writer);
    await assert.rejects(log.append(changed, writer), reason("EVENT_ID_REUSED"));
    await waiting;
    await log.query({ ...everything, from: 0, limit: 1 });
    await assert.rejects(log.append(changed, writer), reason("EVENT_ID_REUSED"));
    await assert.rejects(log.append(draft(1), "spiffe://lobsterd.test/svc/net"), reason("EVENT_ID_REUSED"));
    assert.equal((await eventIdsOf(log)).length, 1);
    await log.close();
  });

  it("never lets append time go backwards and records that the clock did", async () => {
    const { log, clock, reported } = await openTestLog();
    await log.append(draft(1), writer);
    clock.ms -= 5000;
    const behind = await log.append(draft(2), writer);
    await log.append(draft(3), writer);
    clock.ms += 6000;
    await log.append(draft(4), writer);
    const { records } = await log.query({ ...everything, from: 0, limit: 10 });
    const times = records.map(({ record }) => Number(record.appendTime.seconds));
    assert.deepEqual(times, [1_764_000_000, 1_764_000_000, 1_764_000_000, 1_764_000_000, 1_764_000_001]);
    assert.deepEqual(
      records.map(({ record }) => record.draft.action),
      ["SpawnTenant", "ObserveClock", "SpawnTenant", "SpawnTenant", "SpawnTenant"],
    );
    const flag = records[1]?.record ?? assert.fail("no record of the clock");
    assert.equal(flag.writer, "spiffe://lobsterd.test/svc/audit");
    assert.equal(flag.draft.resource, "clock/5000ms-behind");
    assert.equal(flag.draft.reason, "CLOCK_WENT_BACK");
    assert.equal(behind.sequence, 2);
    assert.deepEqual(reported.clockWentBack, [[5000]]);
    await log.close();
  });

  it("keeps append time across a restart with an earlier clock", async () => {
    const disk = new SimulatedDisk();
    const first = await openTestLog(disk);
    first.clock.ms += 60_000;
    await first.log.append(draft(1), writer);
    await first.log.close();
    const second = await openTestLog(disk);
    await second.log.append(draft(2), writer);
    assert.deepEqual(second.reported.clockWentBack, [[60_000]]);
    await second.log.close();
  });

  it("refuses more than the queue holds, and goes on after it drained", async () => {
    const { log } = await openTestLog(new SimulatedDisk(), { queueLimit: 3 });
    const appends = await Promise.allSettled([1, 2, 3, 4, 5].map((number) => log.append(draft(number), writer)));
    assert.deepEqual(appends.map(({ status }) => status).slice(0, 3), ["fulfilled", "fulfilled", "fulfilled"]);
    for (const refused of appends.slice(3)) {
      assert.ok(refused.status === "rejected" && reason("APPEND_QUEUE_FULL")(refused.reason));
    }
    assert.equal((await log.append(draft(4), writer)).sequence, 3);
    await log.close();
  });

  it("acknowledges another writer's record in the next batch of a flood, and refuses only the flood", async () => {
    const { log } = await openTestLog(new SimulatedDisk(), { queueLimit: 2000 });
    const net = "spiffe://lobsterd.test/svc/net";
    const flood = Array.from({ length: 3000 }, (_, number) => log.append(draft(number), net));
    const settled = Promise.allSettled(flood);
    const { sequence } = await log.append(draft(5000), "spiffe://lobsterd.test/svc/secrets");
    assert.ok(sequence < 256, `record ${sequence} of the log, behind ${sequence} of the flood`);
    const outcomes = await settled;
    assert.equal(outcomes.filter(({ status }) => status === "fulfilled").length, 2000);
    for (const one of outcomes) if (one.status === "rejected") assert.ok(reason("APPEND_QUEUE_FULL")(one.reason));
    await log.close();
  });

  it("builds the tree of what is durable, and the same one after a restart", async () => {
    const disk = new SimulatedDisk();
    const { log, reported } = await openTestLog(disk);
    const receipts = await Promise.all([1, 2, 3, 4, 5].map((number) => log.append(draft(number), writer)));
    const tree = log.tree();
    const proof = tree.inclusionProof(2, 5);
    const leaf = receipts[2]?.leafHash ?? assert.fail();
    assert.ok(verifyInclusion({ leafHash: leaf, sequence: 2, size: 5, root: tree.root(), proof }));
    assert.deepEqual(reported.grew, [[5]]);
    const root = tree.root();
    await log.close();
    const { log: restarted } = await openTestLog(disk);
    assert.deepEqual(restarted.tree().root(), root);
    await restarted.close();
  });

  it("keeps what an fsync has not covered out of the tree", async () => {
    const disk = new SimulatedDisk();
    const { log } = await openTestLog(disk);
    await log.append(draft(1), writer);
    disk.faults.failSync = true;
    await assert.rejects(log.append(draft(2), writer), reason("LOG_FAILED"));
    assert.equal(log.tree().size, 1);
  });

  it("refuses after it was closed", async () => {
    const { log } = await openTestLog();
    await log.close();
    await assert.rejects(log.append(draft(1), writer), reason("LOG_FAILED"));
  });
});

describe("a disk that fails", () => {
  it("gives no receipt, accepts nothing more and reports once when fsync fails", async () => {
    const disk = new SimulatedDisk();
    const { log, reported } = await openTestLog(disk);
    await log.append(draft(1), writer);
    disk.faults.failSync = true;
    const appends = await Promise.allSettled([2, 3].map((number) => log.append(draft(number), writer)));
    for (const append of appends) assert.ok(append.status === "rejected" && reason("LOG_FAILED")(append.reason));
    await assert.rejects(log.append(draft(4), writer), reason("LOG_FAILED"));
    assert.equal(log.accepting, false);
    assert.equal(reported.failed.length, 1);
    // What the failed fsync covered is not left in the cache for the next run to take for durable.
    const { log: restarted } = await openTestLog(disk);
    assert.deepEqual(await eventIdsOf(restarted), [draft(1).eventId]);
    assert.equal((await restarted.append(draft(2), writer)).sequence, 1);
    await restarted.close();
  });

  it("keeps every acknowledged record when the disk is full, and starts again once there is space", async () => {
    const disk = new SimulatedDisk();
    const { log } = await openTestLog(disk);
    await log.append(draft(1), writer);
    const oneRecord = (await disk.size()) - fileHeader.length;
    disk.faults.capacityBytes = fileHeader.length + oneRecord * 2.5;
    await log.append(draft(2), writer);
    await assert.rejects(log.append(draft(3), writer), reason("LOG_FAILED"));
    delete disk.faults.capacityBytes;
    const { log: restarted } = await openTestLog(disk);
    assert.deepEqual(await eventIdsOf(restarted), [draft(1).eventId, draft(2).eventId]);
    await restarted.close();
  });

  it("refuses while less than the reserve is free, also when it opens, and recovers", async () => {
    const disk = new SimulatedDisk({ capacityBytes: 10_000 });
    const { log, reported } = await openTestLog(disk, { reserveBytes: 9000 });
    await log.append(draft(1), writer);
    disk.faults.capacityBytes = 9100;
    await log.refreshReserve();
    await assert.rejects(log.append(draft(2), writer), reason("DISK_RESERVE"));
    assert.equal((await log.append(draft(1), writer)).sequence, 0, "a record that is there already costs nothing");
    assert.equal(log.accepting, false);
    await log.close();

    const { log: reopened } = await openTestLog(disk, { reserveBytes: 9000 });
    await assert.rejects(reopened.append(draft(2), writer), reason("DISK_RESERVE"));
    disk.faults.capacityBytes = 20_000;
    await reopened.refreshReserve();
    assert.equal((await reopened.append(draft(2), writer)).sequence, 1);
    assert.deepEqual(
      reported.reserveChanged.map(([low]) => low),
      [true],
    );
    await reopened.close();
  });

  it("fails for good when the index cannot be written, with every receipt kept", async () => {
    const index = new RecordIndex(":memory:");
    const disk = new SimulatedDisk();
    const { log, reported } = await openTestLog(disk, { index });
    await log.append(draft(1), writer);
    index.add = () => {
      throw new Error("database or disk is full");
    };
    await log.append(draft(2), writer).catch(() => undefined);
    await new Promise(setImmediate);
    await assert.rejects(log.append(draft(3), writer), reason("LOG_FAILED"));
    assert.equal(reported.failed.length, 1);
    const { log: restarted } = await openTestLog(disk);
    assert.equal((await eventIdsOf(restarted))[0], draft(1).eventId);
    await restarted.close();
  });

  it("does not return a record that changed on disk", async () => {
    const disk = new SimulatedDisk();
    const { log } = await openTestLog(disk);
    await log.append(draft(1), writer);
    const { read } = disk;
    disk.read = async (offset, length) => {
      const bytes = await read.call(disk, offset, length);
      bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
      return bytes;
    };
    await assert.rejects(log.query({ ...everything, from: 0, limit: 1 }), reason("LOG_DAMAGED"));
  });
});

describe("query", () => {
  it("narrows by every filter, alone and together, and by time", async () => {
    const { log, clock } = await openTestLog();
    for (let number = 0; number < 40; number += 1) {
      clock.ms = 1_764_000_000_000 + number;
      const tenant = number % 2 === 0 ? "even" : "odd";
      const actor = number % 3 === 0 ? "" : "spiffe://lobsterd.test/client/bob";
      const action = number % 5 === 0 ? "EvictTenant" : "SpawnTenant";
      await log.append(draft(number, { tenant, actor, action }), writer);
    }
    const numbers = async (query: object) => {
      const { records } = await log.query({ ...everything, from: 0, limit: 500, ...query });
      return records.map(({ record }) => record.sequence);
    };
    const all = Array.from({ length: 40 }, (_, number) => number);
    const even = (number: number) => number % 2 === 0;
    const bob = (number: number) => number % 3 !== 0;
    const evict = (number: number) => number % 5 === 0;
    const actor = "spiffe://lobsterd.test/client/bob";
    assert.deepEqual(await numbers({}), all);
    assert.deepEqual(await numbers({ tenant: "even" }), all.filter(even));
    assert.deepEqual(await numbers({ actor }), all.filter(bob));
    assert.deepEqual(await numbers({ action: "EvictTenant" }), all.filter(evict));
    assert.deepEqual(await numbers({ traceId: draft(7).traceId }), [7]);
    assert.deepEqual(
      await numbers({ tenant: "even", actor, action: "EvictTenant" }),
      all.filter(even).filter(bob).filter(evict),
    );
    assert.deepEqual(await numbers({ traceId: draft(7).traceId, tenant: "even" }), []);
    assert.deepEqual(await numbers({ tenant: "nobody" }), []);
    const startMs = 1_764_000_000_010;
    assert.deepEqual(await numbers({ startMs }), all.slice(10));
    assert.deepEqual(await numbers({ startMs, endMs: startMs + 5, tenant: "even" }), [10, 12, 14]);
    assert.deepEqual(await numbers({ startMs: startMs + 100 }), []);
    await log.close();
  });

  it("pages through everything once, also while records are appended", async () => {
    const { log } = await openTestLog();
    const drafts = Array.from({ length: 25 }, (_, number) => draft(number));
    await Promise.all(drafts.map((one) => log.append(one, writer)));
    const first = await log.query({ ...everything, from: 0, limit: 10 });
    assert.equal(first.records.length, 10);
    await log.append(draft(100), writer);
    const seen = [...first.records];
    for (let from = first.next; from !== undefined; ) {
      const page: typeof first = await log.query({ ...everything, from, limit: 10 });
      seen.push(...page.records);
      from = page.next;
    }
    assert.deepEqual(
      seen.map(({ record }) => record.sequence),
      Array.from({ length: 26 }, (_, number) => number),
    );
    await log.close();
  });

  it("sees a record as soon as its receipt was given", async () => {
    const { log } = await openTestLog();
    for (let number = 0; number < 20; number += 1) {
      const { sequence } = await log.append(draft(number), writer);
      const { records } = await log.query({ ...everything, from: sequence, limit: 1 });
      assert.deepEqual(records[0]?.record, decodeLeaf(encodeLeaf(records[0]?.record ?? assert.fail("not found"))));
    }
    await log.close();
  });
});
