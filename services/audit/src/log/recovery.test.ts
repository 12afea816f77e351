import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { SimulatedDisk } from "../testing/simulated-disk.ts";
import { draft, eventIdsOf, openTestLog, writer } from "../testing/test-log.ts";
import { encodeLeaf, leafHash } from "./canonical.ts";
import { encodeFrame, fileHeader, frameHeaderBytes, maxBatchBytes } from "./frame.ts";
import { RecordIndex } from "./record-index.ts";
import { rowOf } from "./recovery.ts";
import { scanLog } from "./scan.ts";

const reason = (expected: string) => (error: unknown) => reasonOf(error) === expected;

/** Frames of records `from` to `to - 1`, as one batch. */
function batch(from: number, to: number): Buffer {
  return Buffer.concat(
    Array.from({ length: to - from }, (_, at) => {
      const leaf = leafOf(from + at);
      return encodeFrame(leaf, leafHash(leaf), from);
    }),
  );
}

function leafOf(sequence: number): Buffer {
  const appendTime = { seconds: 1_764_000_000n, nanos: 0 };
  return encodeLeaf({ sequence, appendTime, bootId: "boot", writer, draft: draft(sequence) });
}

const eventIds = (count: number) => Array.from({ length: count }, (_, number) => draft(number).eventId);
const file = (...parts: Buffer[]) => new SimulatedDisk({}, Buffer.concat([fileHeader, ...parts]));

describe("a torn tail", () => {
  it("is cut at the last complete record, at every byte of the last one", async () => {
    const whole = Buffer.concat([fileHeader, batch(0, 2), batch(2, 3)]);
    const lastStart = fileHeader.length + batch(0, 2).length;
    for (let length = lastStart; length < whole.length; length += 1) {
      const disk = new SimulatedDisk({}, whole.subarray(0, length));
      const { log, reported } = await openTestLog(disk);
      assert.equal(reported.recovered[0]?.[0].tornBytes, length - lastStart);
      assert.equal(await disk.size(), lastStart, `file of ${length} bytes`);
      const receipt = await log.append(draft(2), writer);
      assert.equal(receipt.sequence, 2);
      assert.deepEqual(await eventIdsOf(log), eventIds(3));
      await log.close();
    }
  });

  it("is cut when any byte of the last batch is wrong, as a lost page leaves it", async () => {
    const good = Buffer.concat([fileHeader, batch(0, 2)]);
    const torn = batch(2, 4);
    for (let at = 0; at < torn.length; at += 1) {
      const bytes = Buffer.from(torn);
      bytes[at] = (bytes[at] ?? 0) ^ 0xff;
      const scan = await scanLog(new SimulatedDisk({}, Buffer.concat([good, bytes])), () => undefined);
      assert.equal(scan.records, at < torn.length / 2 ? 2 : 3, `byte ${at}`);
    }
  });

  it("is cut when pages of it are zeros and later ones are not", async () => {
    const bytes = batch(1, 40);
    bytes.fill(0, 0, 4096);
    const { log, reported } = await openTestLog(file(batch(0, 1), bytes));
    assert.deepEqual(await eventIdsOf(log), eventIds(1));
    assert.equal(reported.recovered[0]?.[0].tornBytes, bytes.length);
    await log.close();
  });

  it("is made durable before it counts: what a killed process left in the cache", async () => {
    const disk = file();
    await disk.append(batch(0, 3));
    const { log } = await openTestLog(disk);
    const afterPowerCut = disk.powerCut(() => 0.9);
    await log.close();
    const { log: restarted } = await openTestLog(afterPowerCut);
    assert.deepEqual(await eventIdsOf(restarted), eventIds(3));
    await restarted.close();
  });

  it("gives records of a batch that was cut the tree size they became durable with", async () => {
    const torn = batch(0, 3);
    const disk = file(torn.subarray(0, torn.length - 1));
    const { log } = await openTestLog(disk);
    assert.equal((await log.append(draft(10), writer)).sequence, 2);
    await log.close();
    const index = new RecordIndex(":memory:");
    const { log: rebuilt } = await openTestLog(disk, { index });
    assert.deepEqual(
      [0, 1, 10].map((number) => index.find(draft(number).eventId)?.treeSize),
      [2, 2, 3],
    );
    await rebuilt.close();
  });
});

describe("a damaged log refuses to start", () => {
  const refuses = (disk: SimulatedDisk, why: RegExp) =>
    assert.rejects(openTestLog(disk), (error: Error) => reasonOf(error) === "LOG_DAMAGED" && why.test(error.message));

  it("if any byte before the last batch is wrong", async () => {
    const first = batch(0, 2);
    const second = batch(2, 3);
    for (let at = 0; at < first.length; at += 1) {
      const bytes = Buffer.from(first);
      bytes[at] = (bytes[at] ?? 0) ^ 0x01;
      await refuses(file(bytes, second), /^log is damaged at byte \d+, where record [01] should be: .*batch 2 follows/);
    }
  });

  it("if a record was removed, doubled or swapped", async () => {
    await refuses(file(batch(0, 1), batch(2, 3)), /holds record 2/);
    await refuses(file(batch(0, 1), batch(0, 1)), /holds record 0/);
    await refuses(file(batch(1, 2), batch(0, 1)), /holds record 1/);
  });

  it("if more is unreadable than one batch can be", async () => {
    await refuses(file(batch(0, 1), Buffer.alloc(maxBatchBytes + 1)), /bytes follow/);
  });

  it("if the file is not one of ours", async () => {
    await refuses(new SimulatedDisk({}, Buffer.from("lobsterd audit log v2\n".padEnd(32, "\0"))), /does not begin/);
    await refuses(new SimulatedDisk({}, Buffer.alloc(0)), /does not begin/);
  });

  it("if it is shorter than the index knows, which a torn tail never is", async () => {
    const whole = Buffer.concat([batch(0, 2), batch(2, 3)]);
    const lastLength = batch(2, 3).length;
    for (const cut of [1, lastLength, lastLength + 1]) {
      const index = indexOf(3);
      await assert.rejects(
        openTestLog(file(whole.subarray(0, whole.length - cut)), { index }),
        (error: Error) => reasonOf(error) === "LOG_DAMAGED" && /record 2 was durable/.test(error.message),
      );
    }
  });

  it("if a record was rewritten together with its hash", async () => {
    const forged = encodeLeaf({
      ...{ sequence: 1, appendTime: { seconds: 1_764_000_000n, nanos: 0 }, bootId: "boot", writer },
      draft: draft(1, { actor: "spiffe://lobsterd.test/client/nobody" }),
    });
    const bytes = encodeFrame(forged, leafHash(forged), 1);
    await assert.rejects(openTestLog(file(batch(0, 1), bytes), { index: indexOf(2) }), reason("INDEX_MISMATCH"));
  });
});

describe("the index", () => {
  it("is filled from the log where it is behind or gone", async () => {
    for (const indexed of [0, 1, 3, 5]) {
      const { log } = await openTestLog(file(batch(0, 2), batch(2, 5)), { index: indexOf(indexed) });
      assert.deepEqual(await eventIdsOf(log), eventIds(5));
      await log.close();
    }
  });
});

function indexOf(records: number): RecordIndex {
  const index = new RecordIndex(":memory:");
  let offset = fileHeader.length;
  for (let sequence = 0; sequence < records; sequence += 1) {
    const leaf = leafOf(sequence);
    const place = { offset, bytes: frameHeaderBytes + leaf.length, treeSize: sequence + 1, leafHash: leafHash(leaf) };
    index.add([
      rowOf(
        { sequence, appendTime: { seconds: 1_764_000_000n, nanos: 0 }, bootId: "boot", writer, draft: draft(sequence) },
        place,
      ),
    ]);
    offset += place.bytes;
  }
  return index;
}
