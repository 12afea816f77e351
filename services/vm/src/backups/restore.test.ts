import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import { test } from "node:test";
import { createFakeHost, type FakeHost } from "../lifecycle/fake-host.ts";
import { startRun, wish } from "../lifecycle/fake-run.ts";
import { restoreSteps } from "../lifecycle/journal.ts";
import {
  backupFilesOf,
  create,
  dyingAt,
  failingAt,
  holdingAt,
  list,
  onDisk,
  openSubject,
  type Run,
  requireRunning,
  restore,
  suspend,
  withReason,
} from "./testing.ts";

const changed = "what the tenant wrote later";

/** A tenant with a backup, suspended with another disk than the backup's. */
async function suspendedSubject(options: Parameters<typeof openSubject>[0] = {}) {
  const subject = await openSubject(options);
  const backup = await create(subject.run);
  subject.host.vmm.writeDiskText(subject.vmId, changed);
  await suspend(subject.run);
  return { ...subject, backup };
}

/** Fails unless the tenant is as it was before the restore, with its memory, or is the backup. Returns which. */
async function requireOneOfTwo(host: FakeHost, run: Run, vmId: string): Promise<"before" | "restored"> {
  const tenant = run.tenants.find("demo");
  assert.deepEqual(run.journal.open(), []);
  if (tenant?.phase === "suspended") {
    assert.equal(host.vmm.disk(vmId), changed);
    await run.operations.resume(randomUUID(), "demo");
    assert.equal(host.vmm.memory(vmId), "canary-in-memory");
    return "before";
  }
  assert.equal(tenant?.phase, "running");
  assert.equal(host.vmm.disk(vmId), onDisk);
  assert.notEqual(host.vmm.memory(vmId), "canary-in-memory");
  assert.equal(run.sealedStates.find(vmId), undefined);
  assert.deepEqual(host.guests.get(vmId), { generation: tenant.generation, isQuiesced: false });
  return "restored";
}

test("no two pieces of a disk are the same memory that their taker could give back", async () => {
  const { host, run, vmId, backup } = await suspendedSubject();
  const { writeDisk } = host.parts.vmm;
  const whole = new Set<ArrayBufferLike>();
  let shared = 0;
  host.parts.vmm.writeDisk = async (id, disk) => {
    assert.ok(disk instanceof Readable);
    const copied = new PassThrough();
    // Flowing: an iterator would have those that wait joined, in memory of its own.
    disk.on("data", (piece: Buffer) => {
      const isAllOfIt = piece.byteLength === piece.buffer.byteLength;
      if (isAllOfIt && whole.size === whole.add(piece.buffer).size) shared++;
      copied.write(piece);
    });
    disk.on("end", () => copied.end());
    await writeDisk(id, copied);
  };
  await restore(run, "demo", backup.backupId);
  assert.equal(host.vmm.disk(vmId), onDisk);
  assert.equal(shared, 0);
});

test("restored to a new name it is a tenant of its own with the same disk, and the first goes on", async () => {
  const { host, run, vmId } = await openSubject();
  const { backupId } = await create(run);
  const restored = await restore(run, "copy", backupId);
  assert.equal(restored.phase, "running");
  assert.notEqual(restored.vmId, vmId);
  assert.equal(host.vmm.disk(restored.vmId), onDisk);
  assert.notEqual(host.vmm.memory(restored.vmId), host.vmm.memory(vmId));
  assert.deepEqual([restored.generation, restored.image, restored.labels], [1, "base", { plan: "paid" }]);
  assert.equal(restored.resources.diskMib, 64);
  assert.ok(host.identities.has(restored.vmId) && host.keys.has("copy"));
  assert.equal(host.routes.get("copy")?.vmId, restored.vmId);
  requireRunning(host, run, vmId);
  assert.deepEqual(run.told.slice(-2), ["event spawned copy", "event backup-restored copy"]);
  assert.deepEqual(run.backups.list("copy", 10, 10).backups, [], "the backup is the first one's");
});

/** The beginning of a disk as the host has it. */
async function firstSector(host: FakeHost, vmId: string): Promise<Buffer> {
  for await (const piece of await host.parts.vmm.readDisk(vmId)) return Buffer.from(piece.subarray(0, 4096));
  throw new Error("a disk without a byte");
}

test("the disk of a restore to a new name is under that tenant's own key, and opens when the first one is gone", async () => {
  const { host, run, vmId } = await openSubject();
  const { backupId } = await create(run);
  const copy = await restore(run, "copy", backupId);
  const [ofFirst, ofCopy] = [await firstSector(host, vmId), await firstSector(host, copy.vmId)];
  assert.notDeepEqual(ofCopy, ofFirst);
  assert.ok(!ofFirst.includes(onDisk) && !ofCopy.includes(onDisk));
  await run.operations.evict(randomUUID(), "demo");
  host.vmm.exit(copy.vmId);
  run.tenants.markFailed(copy.vmId, "VMM_EXITED");
  await run.operations.repair("copy");
  assert.equal(run.tenants.find("copy")?.phase, "running");
  assert.equal(host.vmm.disk(copy.vmId), onDisk);
});

test("restored in its own place a disk is the same cipher text", async () => {
  const { host, run, vmId } = await openSubject();
  const before = await firstSector(host, vmId);
  const { backupId } = await create(run);
  host.vmm.writeDiskText(vmId, changed);
  await suspend(run);
  await restore(run, "demo", backupId);
  assert.deepEqual(await firstSector(host, vmId), before);
});

test("the plain disk of a tenant of before there were keys is encrypted on its way to a new name", async () => {
  const { host, database, run, vmId } = await openSubject();
  database.exec("UPDATE tenant SET wrapped_disk_key = NULL");
  await writePlainDisk(host, vmId);
  const { backupId } = await create(run);
  const copy = await restore(run, "copy", backupId);
  assert.ok((await firstSector(host, vmId)).includes(onDisk));
  assert.ok(!(await firstSector(host, copy.vmId)).includes(onDisk));
  assert.equal(host.vmm.disk(copy.vmId), onDisk);
});

async function writePlainDisk({ parts, vmm }: FakeHost, vmId: string): Promise<void> {
  const plain = Buffer.alloc(64 * 1024 * 1024);
  plain.write(onDisk);
  vmm.exit(vmId);
  await parts.vmm.writeDisk(vmId, Readable.from([plain]));
  await parts.vmm.replaceDisk(vmId);
  const tenant = { vmId, slot: 0, image: "base", vcpuCount: 1, memoryMib: 256, generation: 2 };
  await parts.vmm.start({ ...tenant, identityDrive: new Uint8Array() });
}

test("a boot that hangs is tried once more with the same disk", async () => {
  const { host, run } = await openSubject();
  const { backupId } = await create(run);
  host.failing.add("awaitAgent");
  const hang = host.parts.guests.awaitAgent;
  host.parts.guests.awaitAgent = async (tenant, limitMs, signal) => {
    try {
      await hang(tenant, limitMs, signal);
    } finally {
      host.failing.clear();
    }
  };
  const restored = await restore(run, "copy", backupId);
  assert.equal(host.vmm.disk(restored.vmId), onDisk);
});

/** As the watchdog leaves a tenant that it gave up. */
function fail(host: FakeHost, run: Run, vmId: string): void {
  host.vmm.exit(vmId);
  run.tenants.markFailed(vmId, "VMM_EXITED");
}

for (const phase of ["suspended", "failed"] as const) {
  test(`restored in its own place a ${phase} tenant boots from the backup under its next generation`, async () => {
    const { host, run, vmId } = await openSubject();
    const { backupId } = await create(run);
    host.vmm.writeDiskText(vmId, changed);
    if (phase === "suspended") await suspend(run);
    else fail(host, run, vmId);
    await run.operations.reconcile();
    assert.equal(run.tenants.find("demo")?.phase, phase);
    const restored = await restore(run, "demo", backupId);
    assert.deepEqual([restored.phase, restored.vmId, restored.failureReason], ["running", vmId, ""]);
    assert.ok(restored.generation > 1);
    assert.equal(await requireOneOfTwo(host, run, vmId), "restored");
    assert.equal(host.routes.get("demo")?.vmId, vmId);
    assert.deepEqual(run.told.slice(-2), ["event resumed demo fresh", "event backup-restored demo"]);
  });
}

test("who cannot be restored is told so, and nothing changes", async () => {
  const { host, run, vmId } = await openSubject();
  const { backupId } = await create(run);
  await run.operations.spawn(wish("other"));
  await assert.rejects(restore(run, "demo", backupId), withReason("TENANT_NOT_SUSPENDED"));
  await assert.rejects(restore(run, "other", backupId), withReason("TENANT_EXISTS"));
  await assert.rejects(restore(run, "copy", "f".repeat(32)), withReason("BACKUP_NOT_FOUND"));
  requireRunning(host, run, vmId);
  assert.equal(run.tenants.find("copy"), undefined);
});

test("the same request is the same tenant, also after vm died before it answered", async () => {
  const { host, database, run, backup } = await suspendedSubject();
  const [over, anew] = [randomUUID(), randomUUID()];
  const [first, copy] = [
    await restore(run, "demo", backup.backupId, over),
    await restore(run, "copy", backup.backupId, anew),
  ];
  const next = startRun(host, database);
  assert.deepEqual(await restore(next, "demo", backup.backupId, over), first);
  assert.deepEqual(await restore(next, "copy", backup.backupId, anew), copy);
});

const flip = (bytes: Buffer) => Buffer.concat([bytes.subarray(0, -1), Buffer.of((bytes.at(-1) ?? 0) ^ 1)]);
for (const [what, change] of [
  ["whose last tag is changed", flip],
  ["with a byte cut", (bytes: Buffer) => bytes.subarray(0, -1)],
  ["with a byte more", (bytes: Buffer) => Buffer.concat([bytes, Buffer.of(0)])],
  ["with nothing left", () => Buffer.alloc(0)],
] as const) {
  test(`a file ${what} is refused, and no byte of it is anybody's disk`, async () => {
    const { host, run, vmId, backup } = await suspendedSubject();
    const path = join(host.directory, "backups", `${vmId}-${backup.counter}.sealed`);
    writeFileSync(path, change(readFileSync(path)));
    await assert.rejects(restore(run, "copy", backup.backupId), withReason("BACKUP_BROKEN"));
    assert.equal(run.tenants.find("copy"), undefined);
    await assert.rejects(restore(run, "demo", backup.backupId), withReason("BACKUP_BROKEN"));
    assert.equal(await requireOneOfTwo(host, run, vmId), "before");
  });
}

test("another backup of the tenant in the place of this one is refused", async () => {
  const { host, run, vmId } = await openSubject();
  const [first, second] = [await create(run), await create(run)];
  const pathOf = (counter: number) => join(host.directory, "backups", `${vmId}-${counter}.sealed`);
  copyFileSync(pathOf(second.counter), pathOf(first.counter));
  await assert.rejects(restore(run, "copy", first.backupId), withReason("BACKUP_BROKEN"));
});

for (const failure of ["unwrapDataKey", "writeDisk"] as const) {
  test(`a restore whose ${failure} fails leaves the tenant as it was, and a new one not at all`, async () => {
    const { host, run, vmId, backup } = await suspendedSubject();
    host.failing.add(failure);
    await assert.rejects(restore(run, "copy", backup.backupId));
    assert.equal(run.tenants.find("copy"), undefined);
    await assert.rejects(restore(run, "demo", backup.backupId));
    host.failing.clear();
    assert.equal(await requireOneOfTwo(host, run, vmId), "before");
  });
}

test("a failed tenant whose restore fails is failed for the reason it was, and its disk is its own", async () => {
  const { host, run, vmId } = await openSubject();
  const { backupId } = await create(run);
  host.vmm.writeDiskText(vmId, changed);
  fail(host, run, vmId);
  await run.operations.reconcile();
  host.failing.add("writeDisk");
  await assert.rejects(restore(run, "demo", backupId));
  assert.deepEqual(
    [run.tenants.find("demo")?.phase, run.tenants.find("demo")?.failureReason],
    ["failed", "VMM_EXITED"],
  );
  assert.deepEqual(run.journal.open(), []);
  host.failing.clear();
  await host.parts.vmm.replaceDisk(vmId);
  assert.equal(host.vmm.disk(vmId), changed, "the disk that was written is dropped");
});

for (const [what, end] of [
  ["a repair", (run: Run) => run.operations.repair("demo")],
  [
    "a wake",
    (run: Run, vmId: string) => run.wakes.wake({ requestId: randomUUID(), name: "demo", vmId, cause: "request" }),
  ],
] as const) {
  for (const [step, keepsMemory, disk] of [
    ["write-disk", true, changed],
    ["replace-disk", false, onDisk],
  ] as const) {
    test(`a restore that vm died in at ${step} is ended by ${what} that comes before the reconciler, and a memory meets its own disk`, async () => {
      const { host, database, vmId, backup } = await suspendedSubject();
      const dying = dyingAt("started", step);
      void restore(startRun(host, database, { observe: dying.observe }), "demo", backup.backupId);
      await dying.reached;
      const next = startRun(host, database);
      await end(next, vmId);
      assert.deepEqual([next.tenants.find("demo")?.phase, next.journal.open()], ["running", []]);
      assert.equal(next.sealedStates.find(vmId), undefined);
      assert.deepEqual([host.vmm.memory(vmId) === "canary-in-memory", host.vmm.disk(vmId)], [keepsMemory, disk]);
    });
  }
}

test("the memory that a restore gives up is used up in the audit log too", async () => {
  const { host, run, backup, vmId } = await suspendedSubject();
  await restore(run, "demo", backup.backupId);
  const seals = host.audited.filter(({ action }) => ["SealState", "ConsumeState"].includes(action));
  assert.deepEqual(
    seals.slice(-2).map(({ action, resource }) => [action, resource]),
    [
      ["SealState", `${vmId}-2`],
      ["ConsumeState", `${vmId}-2`],
    ],
  );
});

test("a restore whose disk is written is finished when the launcher is back", async () => {
  const { host, run, vmId, backup } = await suspendedSubject();
  host.failing.add("replaceDisk");
  await assert.rejects(restore(run, "demo", backup.backupId), withReason("RESTORE_INCOMPLETE"));
  assert.equal(run.tenants.find("demo")?.phase, "resuming");
  host.failing.clear();
  await run.operations.reconcile();
  assert.equal(await requireOneOfTwo(host, run, vmId), "restored");
});

for (const moment of ["started", "done"] as const) {
  for (const step of restoreSteps) {
    test(`vm dying when ${step} of a restore is ${moment} leaves the tenant as it was or restored, never between`, async () => {
      const { host, database, vmId, backup } = await suspendedSubject();
      const { reached, observe } = dyingAt(moment, step);
      void restore(startRun(host, database, { observe }), "demo", backup.backupId);
      await reached;
      const next = startRun(host, database);
      await next.operations.reconcile();
      const state = await requireOneOfTwo(host, next, vmId);
      assert.equal(state, step === "write-disk" ? "before" : "restored");
      await host.parts.vmm.stop(vmId);
      await host.parts.vmm.replaceDisk(vmId);
      assert.equal(host.vmm.disk(vmId), state === "before" ? changed : onDisk, "nothing waits to be put in place");
    });

    test(`a restore that fails when ${step} is ${moment} leaves the tenant as it was or restored`, async () => {
      const { host, database, vmId, backup } = await suspendedSubject();
      const run = startRun(host, database, { observe: failingAt(moment, step) });
      await assert.rejects(restore(run, "demo", backup.backupId));
      await startRun(host, database).operations.reconcile();
      assert.equal(await requireOneOfTwo(host, run, vmId), step === "write-disk" ? "before" : "restored");
    });

    test(`vm dying when ${step} of a restore to a new name is ${moment} leaves no tenant`, async () => {
      const { host, database, run, vmId } = await openSubject();
      const { backupId } = await create(run);
      const before = await host.inventory();
      const { reached, observe } = dyingAt(moment, step);
      void restore(startRun(host, database, { observe }), "copy", backupId);
      await reached;
      const next = startRun(host, database);
      await next.operations.reconcile();
      assert.deepEqual(await host.inventory(), before);
      assert.deepEqual([...host.keys], ["demo"]);
      requireRunning(host, next, vmId);
    });
  }
}

for (const step of restoreSteps) {
  test(`an eviction that comes when ${step} of a restore begins ends it and leaves nothing`, async () => {
    const { host, database, backup } = await suspendedSubject();
    const held = holdingAt(step);
    const run = startRun(host, database, { observe: held.observe });
    const ended = assert.rejects(restore(run, "demo", backup.backupId), withReason("TENANT_BUSY"));
    await held.reached;
    const evicting = run.operations.evict(randomUUID(), "demo");
    held.goOn();
    await Promise.all([ended, evicting]);
    assert.deepEqual(await host.inventory(), []);
  });
}

test("an eviction of the backup's tenant ends a restore to a new name while its disk is written", async () => {
  const { host, database, run } = await openSubject();
  const { backupId } = await create(run);
  const held = holdingAt("write-disk");
  const next = startRun(host, database, { observe: held.observe });
  const ended = assert.rejects(restore(next, "copy", backupId), withReason("TENANT_BUSY"));
  await held.reached;
  const evicting = next.operations.evict(randomUUID(), "demo");
  held.goOn();
  await Promise.all([ended, evicting]);
  assert.deepEqual(await host.inventory(), []);
});

test("an eviction takes the backups with it", async () => {
  const { host, run } = await openSubject();
  const { backupId } = await create(run);
  assert.equal(list(run).length, 1);
  await run.operations.evict(randomUUID(), "demo");
  assert.deepEqual(backupFilesOf(host), []);
  await assert.rejects(restore(run, "copy", backupId), withReason("BACKUP_NOT_FOUND"));
});

test("a host without room for a second disk refuses a restore in a tenant's place", async () => {
  const host = createFakeHost({ description: { overlayCapacityMib: 1024 + 64 + 150 + 2 * 267 } });
  const { run, vmId } = await openSubject({}, host);
  const { backupId } = await create(run);
  host.vmm.writeDiskText(vmId, changed);
  await suspend(run);
  await run.operations.spawn({ ...wish("other"), resources: { vcpuCount: 0, memoryMib: 0, diskMib: 100 } });
  await assert.rejects(restore(run, "demo", backupId), withReason("HOST_FULL"));
  assert.equal(await requireOneOfTwo(host, run, vmId), "before");
});
