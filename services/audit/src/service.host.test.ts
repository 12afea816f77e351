import assert from "node:assert/strict";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { HealthCheckResponse_ServingStatus } from "@lobsterd/proto/grpc/health/v1/health_pb.ts";
import {
  processDraft as draft,
  everyEventId,
  killUnderLoad,
  openAuditProcess as openStack,
} from "./testing/audit-process.ts";
import { smallDisk } from "./testing/small-disk.ts";

describe("audit as a process", () => {
  it("loses no acknowledged record through five kill -9 under load from 8 writers, and its log verifies", async (context) => {
    const stack = openStack(context);
    const { acknowledged, found, lost, doubled } = await killUnderLoad(stack, 5, 100);
    context.diagnostic(`${acknowledged} acknowledged, ${found} in the log, ${lost.length} lost`);
    assert.deepEqual({ lost, doubled }, { lost: [], doubled: 0 });
    assert.ok(acknowledged >= 500);
    const covered = new RegExp(`^${found} records, [1-9](.|\\n)*VERIFIED(.|\\n)*newest checkpoint: ${found} records`);
    const verdict = await waitFor(
      "a checkpoint of all records at the witness",
      async () => {
        const { status, output } = stack.verify();
        assert.equal(status, 0, output);
        return covered.test(output) ? output : undefined;
      },
      { timeoutMs: 30_000, intervalMs: 200 },
    );
    context.diagnostic(verdict);
  });

  it("does not start with a log that is not the one it signed, also without its index", async (context) => {
    const stack = openStack(context);
    await stack.start();
    const writer = stack.writer();
    for (let number = 0; number < 5; number += 1) await writer.appendRecord({ record: draft(number) });
    const note = join(stack.stateDir, "checkpoint.note");
    // A machine whose clock steps back has a record of that too.
    const size = () => Number(readFileSync(note, "utf8").split("\n")[1]);
    const covers = async () => (existsSync(note) && size() >= 5 ? true : undefined);
    await waitFor("a checkpoint of five records", covers, { timeoutMs: 60_000, intervalMs: 100 });
    await stack.kill();
    // Whoever owns the host cuts the log, with all that could tell of it but the checkpoint.
    const log = join(stack.stateDir, "records.log");
    writeFileSync(log, readFileSync(log).subarray(0, 32));
    for (const suffix of ["", "-wal", "-shm"]) rmSync(join(stack.stateDir, `index.sqlite${suffix}`), { force: true });
    await assert.rejects(stack.start());
    assert.match(stack.log(), /the log is not the one that the checkpoint of \d+ records was signed for/);
    assert.match(stack.verify().output, /FAULT truncated: \d+ records were signed, and the log has 0/);
  });

  it("is not serving and refuses while the disk is below its reserve", async (context) => {
    const stack = openStack(context, { diskReserveMib: 1_048_576 });
    await stack.start();
    const { status } = await stack.health.check({ service: "" });
    assert.equal(status, HealthCheckResponse_ServingStatus.NOT_SERVING);
    await assert.rejects(
      stack.writer().appendRecord({ record: draft(1) }),
      (error) => reasonOf(error) === "DISK_RESERVE",
    );
    assert.deepEqual(await everyEventId(stack.operator), []);
  });

  it("ends when its disk fails under it, and starts again with every acknowledged record", async (context) => {
    const disk = smallDisk(context, 16);
    const stack = openStack(context, { stateDir: disk.path, diskReserveMib: 0 });
    await stack.start();
    const writer = stack.writer();
    const kept = draft(1);
    await writer.appendRecord({ record: kept });
    assert.throws(() => writeFileSync(join(disk.path, "filler"), Buffer.alloc(17 * 1024 * 1024)), /ENOSPC/);
    const refusals: unknown[] = [];
    // The last block of the file still takes a few records after the disk is full.
    for (let number = 2; number < 50 && refusals.length === 0; number += 1) {
      await writer.appendRecord({ record: draft(number) }).catch((error: unknown) => refusals.push(reasonOf(error)));
    }
    assert.equal(await stack.exited(), 1);
    assert.match(stack.log(), /log failed, nothing is accepted any more/);
    disk.grow(64);
    await stack.start();
    assert.equal((await everyEventId(stack.operator))[0], kept.eventId);
    await writer.appendRecord({ record: draft(50) });
  });

  it("does not start on a damaged log and says where it is damaged", async (context) => {
    const stack = openStack(context);
    await stack.start();
    const writer = stack.writer();
    for (let number = 0; number < 5; number += 1) await writer.appendRecord({ record: draft(number) });
    await stack.kill();
    const path = join(stack.stateDir, "records.log");
    const bytes = readFileSync(path);
    bytes[200] = (bytes[200] ?? 0) ^ 1;
    writeFileSync(path, bytes);
    await assert.rejects(stack.start());
    assert.equal(await stack.exited(), 1);
    assert.match(stack.log(), /log is damaged at byte 32, where record 0 should be/);
  });
});
