import assert from "node:assert/strict";
import { rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { describeLogFile } from "../testing/log-file.conformance.ts";
import { smallDisk, temporaryDirectory } from "../testing/small-disk.ts";
import { draft, eventIdsOf, openTestLog, writer } from "../testing/test-log.ts";
import { openFileOnDisk } from "./file-on-disk.ts";
import { fileHeader } from "./frame.ts";
import { RecordIndex } from "./record-index.ts";

const mebibyte = 1024 * 1024;

async function openLog(path: string, reserveBytes = 0) {
  const index = new RecordIndex(join(path, "index.sqlite"));
  return openTestLog(await openFileOnDisk(join(path, "records.log")), { index, reserveBytes });
}

describeLogFile("file on disk", (context) => openFileOnDisk(join(temporaryDirectory(context), "records.log")));

describe("file on disk", () => {
  it("is private, and what was there is kept", async (context) => {
    const path = join(temporaryDirectory(context), "records.log");
    const file = await openFileOnDisk(path);
    await file.append(Buffer.from("x"));
    await file.close();
    assert.equal(statSync(path).mode & 0o777, 0o600);
    const again = await openFileOnDisk(path);
    assert.equal(await again.size(), fileHeader.length + 1);
    await again.close();
  });

  it("is not opened through a symbolic link", async (context) => {
    const path = temporaryDirectory(context);
    const target = await openFileOnDisk(join(path, "target"));
    await target.close();
    symlinkSync("target", join(path, "records.log"));
    await assert.rejects(openFileOnDisk(join(path, "records.log")), /ELOOP/);
  });

  it("starts again after a crash while it was made", async (context) => {
    const path = join(temporaryDirectory(context), "records.log");
    writeFileSync(`${path}.new`, fileHeader.subarray(0, 5));
    const file = await openFileOnDisk(path);
    assert.deepEqual(await file.read(0, 100), fileHeader);
    await file.close();
  });
});

describe("log and index on disk", () => {
  it("are there again after a restart, and one process has them at a time", async (context) => {
    const path = temporaryDirectory(context);
    const { log } = await openLog(path);
    await Promise.all([1, 2, 3].map((number) => log.append(draft(number), writer)));
    assert.throws(
      () => new RecordIndex(join(path, "index.sqlite")),
      (error) => reasonOf(error) === "LOG_IN_USE",
    );
    await log.close();
    const { log: restarted } = await openLog(path);
    assert.deepEqual(
      await eventIdsOf(restarted),
      [1, 2, 3].map((number) => draft(number).eventId),
    );
    await restarted.close();
  });

  it("survive a torn tail at every byte of the last record", async (context) => {
    const path = temporaryDirectory(context);
    const { log } = await openLog(path);
    await log.append(draft(1), writer);
    await log.close();
    const logPath = join(path, "records.log");
    const oneRecord = statSync(logPath).size;
    for (let left = 1; left < oneRecord - fileHeader.length; left += 1) {
      const handle = await open(logPath, "a");
      await handle.write(Buffer.alloc(left, 0x4c));
      await handle.close();
      const { log: restarted, reported } = await openLog(path);
      assert.equal(reported.recovered[0]?.[0].tornBytes, left);
      await restarted.close();
      assert.equal(statSync(logPath).size, oneRecord);
    }
  });

  it("refuse while the disk is below its reserve", async (context) => {
    const { path } = smallDisk(context, 16);
    const { log } = await openLog(path, 4 * mebibyte);
    await log.append(draft(1), writer);
    writeFileSync(join(path, "filler"), Buffer.alloc(9 * mebibyte));
    await log.refreshReserve();
    await assert.rejects(log.append(draft(2), writer), (error) => reasonOf(error) === "DISK_RESERVE");
    rmSync(join(path, "filler"));
    await log.refreshReserve();
    assert.equal((await log.append(draft(2), writer)).sequence, 1);
    await log.close();
  });

  it("lose nothing acknowledged when the disk is full, and start again once there is space", async (context) => {
    const { path, grow } = smallDisk(context, 16);
    const { log, reported } = await openLog(path);
    const acknowledged: string[] = [];
    const appendUntilFull = async (writerNumber: number): Promise<void> => {
      for (let number = 0; number < 20_000; number += 1) {
        const one = draft(writerNumber * 1_000_000 + number);
        await log.append(one, writer);
        acknowledged.push(one.eventId);
      }
    };
    const ends = await Promise.allSettled([1, 2, 3, 4].map(appendUntilFull));
    for (const end of ends) assert.ok(end.status === "rejected" && reasonOf(end.reason) === "LOG_FAILED");
    assert.equal(reported.failed.length, 1);
    await log.close();
    grow(64);
    const { log: restarted } = await openLog(path);
    const found = new Set(await eventIdsOf(restarted));
    assert.ok(acknowledged.length > 1000);
    assert.deepEqual(
      acknowledged.filter((id) => !found.has(id)),
      [],
    );
    await restarted.append(draft(1), writer);
    await restarted.close();
  });
});
