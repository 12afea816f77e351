import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { createFakeHost } from "../lifecycle/fake-host.ts";
import { startRun, wish } from "../lifecycle/fake-run.ts";
import { backupSteps } from "../lifecycle/journal.ts";
import {
  backupFilesOf,
  create,
  dyingAt,
  failingAt,
  holdingAt,
  list,
  openSubject,
  requireRunning,
  suspend,
  withReason,
} from "./testing.ts";

test("a backup of a running tenant is one sealed file, and the tenant goes on as it was", async () => {
  const { host, run, vmId } = await openSubject();
  const backup = await create(run);
  requireRunning(host, run, vmId);
  assert.deepEqual(list(run), [backup]);
  assert.deepEqual(backupFilesOf(host), [`${vmId}-1.sealed`]);
  const path = join(host.directory, "backups", `${vmId}-1.sealed`);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.equal(statSync(path).size, backup.sizeBytes);
  assert.ok(backup.sizeBytes < 128 * 1024, `${backup.sizeBytes} bytes for a disk of one sector`);
  assert.equal(readFileSync(path).includes("what the tenant wrote"), false);
  assert.deepEqual([backup.diskMib, backup.generation], [64, 1]);
  assert.match(backup.backupId, /^[0-9a-f]{32}$/);
  assert.deepEqual(run.told, ["event spawned demo", "event backup-created demo"]);
});

test("the guest is asked, then paused, only while its disk is copied", async () => {
  const seen: unknown[] = [];
  const host = createFakeHost();
  const { run, vmId } = await openSubject(
    {
      observe: async (moment, step) => {
        const isOf = (backupSteps as readonly string[]).includes(step);
        if (moment === "started" && isOf && step !== "list-backup")
          seen.push([step, host.guests.get(vmId)?.isQuiesced, host.vmm.guestRuns(vmId)]);
      },
    },
    host,
  );
  await create(run);
  assert.deepEqual(seen, [
    ["quiesce-disk", false, true],
    ["pause-guest", true, true],
    ["copy-disk", true, false],
    ["release-guest", true, false],
    ["seal-disk", false, true],
  ]);
});

test("a suspended tenant's disk is copied as it is, and its memory still loads", async () => {
  const { host, run, vmId } = await openSubject();
  await suspend(run);
  const backup = await create(run);
  assert.equal(run.tenants.find("demo")?.phase, "suspended");
  assert.equal(backup.counter, 2, "a set of the same tenant as its memory");
  await run.operations.resume(randomUUID(), "demo");
  requireRunning(host, run, vmId, 2);
});

test("while a backup is sealed the tenant can be suspended and resumed, and keeps its memory", async () => {
  const held = holdingAt("seal-disk");
  const { host, run, vmId } = await openSubject({ observe: held.observe });
  const making = create(run);
  await held.reached;
  await suspend(run);
  await run.operations.resume(randomUUID(), "demo");
  requireRunning(host, run, vmId, 2);
  assert.deepEqual(
    run.backups.list("demo", 10, 10).work.map(({ kind, totalBytes, doneBytes }) => [kind, totalBytes, doneBytes]),
    [["create", 64 * 1024 * 1024, 0]],
  );
  assert.deepEqual(list(run), []);
  held.goOn();
  const backup = await making;
  assert.deepEqual(list(run), [backup]);
  assert.deepEqual(run.backups.list("demo", 10, 10).work, []);
});

test("who cannot be backed up is told so", async () => {
  const { host, run, vmId } = await openSubject();
  await assert.rejects(run.backups.create(randomUUID(), "other"), withReason("TENANT_NOT_FOUND"));
  host.vmm.exit(vmId);
  run.tenants.markFailed(vmId, "VMM_EXITED");
  await assert.rejects(create(run), withReason("TENANT_NOT_RUNNING"));
});

for (const failure of ["createDataKey", "quiesceDisk", "pause", "readDisk"] as const) {
  test(`a backup whose ${failure} fails after its effect leaves a tenant that goes on`, async () => {
    const { host, run, vmId } = await openSubject();
    host.failing.add(failure);
    await assert.rejects(create(run));
    requireRunning(host, run, vmId);
    host.failing.clear();
    await create(run);
    await run.operations.reconcile();
    assert.equal(backupFilesOf(host).length, list(run).length);
  });
}

test("a guest that cannot be let go on at once is let go on by the reconciler", async () => {
  const { host, run, vmId } = await openSubject();
  host.failing.add("unpause");
  await create(run);
  assert.equal(run.journal.find(vmId)?.kind, "backup");
  host.failing.clear();
  await run.operations.reconcile();
  requireRunning(host, run, vmId);
});

/** A tenant with a backup whose guest was not told that it is over, and does not hear it before `listens`. */
async function openDeaf() {
  const subject = await openSubject();
  const { guests } = subject.host.parts;
  const { releaseDisk } = guests;
  guests.releaseDisk = async () => {
    throw new Error("no answer");
  };
  await create(subject.run);
  return { ...subject, listens: () => Object.assign(guests, { releaseDisk }) };
}

test("a guest that does not hear that the copy is made is told again by the reconciler", async () => {
  const { host, run, vmId, listens } = await openDeaf();
  await run.operations.reconcile();
  assert.deepEqual(
    [host.guests.get(vmId)?.isQuiesced, host.vmm.guestRuns(vmId), run.journal.find(vmId)?.kind],
    [true, true, "backup"],
  );
  listens();
  await run.operations.reconcile();
  requireRunning(host, run, vmId);
});

test("a guest that does not hear it for four minutes is left to the watchdog", async () => {
  const { host, run, vmId } = await openDeaf();
  run.clock.nowMs += 240_000;
  await run.operations.reconcile();
  assert.equal(run.journal.find(vmId)?.kind, "backup");
  run.clock.nowMs += 1;
  await run.operations.reconcile();
  assert.deepEqual([run.journal.open(), run.tenants.find("demo")?.phase], [[], "running"]);
  assert.ok(host.vmm.guestRuns(vmId));
});

test("a VMM that ends while its disk is copied leaves a backup of the disk, and a tenant that is repaired", async () => {
  const held = holdingAt("release-guest");
  const { host, run, vmId } = await openSubject({ observe: held.observe });
  const making = create(run);
  await held.reached;
  host.vmm.exit(vmId);
  held.goOn();
  await making;
  await run.operations.reconcile();
  await run.operations.repair("demo");
  assert.equal(run.tenants.find("demo")?.generation, 2);
  assert.ok(host.vmm.guestRuns(vmId));
});

for (const moment of ["started", "done"] as const) {
  for (const step of backupSteps) {
    test(`vm dying when ${step} of a backup is ${moment} leaves a tenant that goes on, and no half backup`, async () => {
      const { reached, observe } = dyingAt(moment, step);
      const { host, database, run, vmId } = await openSubject({ observe });
      const requestId = randomUUID();
      void create(run, requestId);
      await reached;
      const next = startRun(host, database);
      await next.operations.reconcile();
      requireRunning(host, next, vmId);
      const isListed = step === "list-backup" && moment === "done";
      assert.equal(list(next).length, isListed ? 1 : 0);
      assert.equal(backupFilesOf(host).length, isListed ? 1 : 0);
      await create(next, requestId);
      assert.equal(list(next).length, 1, "the request that died has one effect");
      assert.equal(backupFilesOf(host).length, 1);
    });

    test(`a backup that fails when ${step} is ${moment} leaves a tenant that goes on`, async () => {
      const { host, run, vmId } = await openSubject({ observe: failingAt(moment, step) });
      await create(run).catch(() => undefined);
      await run.operations.reconcile();
      if (step !== "release-guest") requireRunning(host, run, vmId);
      assert.equal(backupFilesOf(host).length, list(run).length);
    });
  }
}

for (const step of backupSteps) {
  test(`an eviction that comes when ${step} of a backup begins ends it and leaves nothing`, async () => {
    const held = holdingAt(step);
    const { host, run } = await openSubject({ observe: held.observe });
    const ended = assert.rejects(create(run), withReason("TENANT_BUSY"));
    await held.reached;
    const evicting = run.operations.evict(randomUUID(), "demo");
    held.goOn();
    await Promise.all([ended, evicting]);
    assert.deepEqual(await host.inventory(), []);
  });
}

test("the same request is the same backup, also after vm died before it answered", async () => {
  const { host, database, run } = await openSubject();
  const requestId = randomUUID();
  const first = await create(run, requestId);
  assert.deepEqual(await create(startRun(host, database), requestId), first);
  assert.equal(list(run).length, 1);
  await run.operations.spawn(wish("other"));
  await assert.rejects(run.backups.create(requestId, "other"), withReason("REQUEST_ID_REUSED"));
});

test("the oldest go when there are more than are kept, or when they are too old, with a record each", async () => {
  const { host, run, vmId } = await openSubject({ config: { backupKeepCount: 2, backupMaxAgeMs: 60_000 } });
  const first = await create(run);
  run.clock.nowMs += 30_000;
  const [second, third] = [await create(run), await create(run)];
  assert.deepEqual(list(run), [third, second]);
  await assert.rejects(run.backups.restore(randomUUID(), "copy", first.backupId), withReason("BACKUP_NOT_FOUND"));
  assert.deepEqual(run.told.slice(-2), [
    "event backup-deleted demo",
    "record DeleteBackup outcome success RETENTION demo",
  ]);
  run.clock.nowMs += 60_001;
  await run.operations.reconcile();
  assert.deepEqual([list(run), backupFilesOf(host)], [[], []]);
  assert.equal(run.tenants.findByVm(vmId)?.sealCounter, 3);
});

test("a deleted backup is gone, and only the request that deleted it may be repeated", async () => {
  const { host, run } = await openSubject();
  const { backupId } = await create(run);
  const requestId = randomUUID();
  await assert.rejects(run.backups.delete(requestId, "demo", "f".repeat(32)), withReason("BACKUP_NOT_FOUND"));
  await run.backups.delete(requestId, "demo", backupId);
  await run.backups.delete(requestId, "demo", backupId);
  await assert.rejects(run.backups.delete(randomUUID(), "demo", backupId), withReason("BACKUP_NOT_FOUND"));
  assert.deepEqual([list(run), backupFilesOf(host)], [[], []]);
});

test("a host without room refuses a backup before anything is done, and so does one whose backups have what they may", async () => {
  const full = createFakeHost({ description: { overlayCapacityMib: 1024 + 64 + 267 + 100 } });
  const subject = await openSubject({}, full);
  await assert.rejects(create(subject.run), withReason("HOST_FULL"));
  requireRunning(full, subject.run, subject.vmId);
  const bounded = await openSubject({ config: { maxBackupsMib: 66 } });
  await create(bounded.run);
  await assert.rejects(create(bounded.run), (error) => {
    assert.deepEqual((error as { metadata: unknown }).metadata, { resource: "backups_mib", wanted: "66", left: "65" });
    return withReason("HOST_FULL")(error);
  });
});

test("only so many backups are made at once, and only so many wait", async () => {
  const held = holdingAt("seal-disk");
  const { run } = await openSubject({ observe: held.observe, config: { maxQueuedBackups: 0 } });
  await run.operations.spawn(wish("other"));
  const making = create(run);
  await held.reached;
  await assert.rejects(run.backups.create(randomUUID(), "other"), withReason("BACKUP_QUEUE_FULL"));
  held.goOn();
  await making;
});

test("reconcile removes files that are no backup, and leaves those that are", async () => {
  const { host, run, vmId } = await openSubject();
  await create(run);
  for (const name of [`${vmId}-7.sealed`, `${vmId}-2.sealed.partial`, "import-0.partial", `${"f".repeat(32)}-1.sealed`])
    writeFileSync(join(host.directory, "backups", name), "left");
  await run.operations.reconcile();
  assert.deepEqual(backupFilesOf(host), [`${vmId}-1.sealed`]);
});
