import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { wish } from "../lifecycle/fake-run.ts";
import { sealSet } from "../sealing/seal-set.ts";
import { exampleHeader, partOf } from "../sealing/testing.ts";
import { backupFilesOf, create, list, onDisk, openSubject, type Run, restore, small, withReason } from "./testing.ts";

/** Sends a file in pieces that fit no chunk. */
async function* piecesOf(file: Buffer): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < file.length; at += 10_000) yield file.subarray(at, at + 10_000);
}

const send = (run: Run, file: Buffer, order: { name?: string; sizeBytes?: number; requestId?: string } = {}) =>
  run.backups.import(
    {
      requestId: order.requestId ?? randomUUID(),
      name: order.name ?? "demo",
      sizeBytes: order.sizeBytes ?? file.length,
    },
    piecesOf(file),
    new AbortController().signal,
  );

/** A tenant, a backup of it that was deleted, and the file that was exported before. */
async function exportedSubject() {
  const subject = await openSubject();
  const backup = await create(subject.run);
  const { path } = subject.run.backups.find("demo", backup.backupId);
  const file = readFileSync(path);
  await subject.run.backups.delete(randomUUID(), "demo", backup.backupId);
  return { ...subject, backup, file };
}

test("an exported file is imported as the backup that it was, and restored", async () => {
  const { host, run, vmId, backup, file } = await exportedSubject();
  const requestId = randomUUID();
  const imported = await send(run, file, { requestId });
  assert.equal(imported.backupId, backup.backupId);
  assert.deepEqual(
    [imported.diskMib, imported.sizeBytes, imported.createTimeMs],
    [64, file.length, backup.createTimeMs],
  );
  assert.deepEqual(list(run), [imported]);
  assert.deepEqual(backupFilesOf(host), [`${vmId}-1.sealed`]);
  assert.deepEqual(await send(run, file, { requestId }), imported, "the same request");
  assert.deepEqual(await send(run, file), imported, "the same file");
  assert.equal(list(run).length, 1);
  const restored = await restore(run, "copy", imported.backupId);
  assert.equal(host.vmm.disk(restored.vmId), onDisk);
});

test("after the eviction of its tenant a file is refused, whoever has the name", async () => {
  const { host, run, backup, file } = await exportedSubject();
  await run.operations.evict(randomUUID(), "demo");
  await assert.rejects(send(run, file), withReason("BACKUP_KEY_GONE"));
  await run.operations.spawn({ ...wish("demo"), ...small });
  await assert.rejects(send(run, file), withReason("BACKUP_KEY_GONE"));
  assert.deepEqual(backupFilesOf(host), []);
  const object = { tenant: "demo", purpose: "backup", objectId: `${backup.vmId}-${backup.counter}` };
  const wrappedKey = Buffer.from(
    JSON.parse(file.toString("latin1", 12, 12 + file.readUInt32BE(8))).wrappedKey,
    "base64",
  );
  await assert.rejects(host.parts.secrets.unwrapDataKey({ ...object, wrappedKey }));
});

test("a file of another tenant, of another kind, or that is none is refused and leaves nothing", async () => {
  const { host, run, file } = await exportedSubject();
  await run.operations.spawn({ ...wish("other"), ...small });
  await assert.rejects(send(run, file, { name: "other" }), withReason("BACKUP_OTHER_TENANT"));
  await assert.rejects(send(run, Buffer.alloc(100_000)), withReason("BACKUP_BROKEN"));
  const directory = join(host.directory, "own");
  mkdirSync(directory);
  const path = join(directory, "snapshot.sealed");
  const order = { path, header: exampleHeader, dataKey: Buffer.alloc(32), compression: "zeros" } as const;
  await sealSet({ ...order, parts: [partOf("overlay", Buffer.alloc(1024 * 1024))] });
  await assert.rejects(send(run, readFileSync(path)), withReason("BACKUP_BROKEN"));
  assert.deepEqual(backupFilesOf(host), []);
});

test("a file that was changed, cut or continued anywhere is refused and leaves nothing", async () => {
  const { host, run, file } = await exportedSubject();
  const header = 12 + file.readUInt32BE(8);
  for (const at of [0, 9, 40, header - 3, header + 1, header + 20, file.length - 1]) {
    const flipped = Buffer.from(file);
    flipped[at] = (flipped[at] ?? 0) ^ 1;
    await assert.rejects(send(run, flipped), `byte ${at}`);
  }
  for (const cut of [header, file.length - 1]) {
    await assert.rejects(send(run, file.subarray(0, cut)), withReason("BACKUP_BROKEN"));
  }
  await assert.rejects(send(run, Buffer.concat([file, Buffer.of(0)])), withReason("BACKUP_BROKEN"));
  assert.deepEqual([list(run), backupFilesOf(host)], [[], []]);
});

test("a sender who sends more or less than announced, or goes away, leaves nothing", async () => {
  const { host, run, file } = await exportedSubject();
  await assert.rejects(send(run, file, { sizeBytes: file.length - 1 }), withReason("IMPORT_INVALID"));
  await assert.rejects(send(run, file, { sizeBytes: file.length + 1 }), withReason("IMPORT_INVALID"));
  await assert.rejects(send(run, file, { sizeBytes: 1e12 }), withReason("HOST_FULL"));
  const gone = new AbortController();
  const order = { requestId: randomUUID(), name: "demo", sizeBytes: file.length };
  const silent = (async function* (): AsyncGenerator<Uint8Array> {
    yield file.subarray(0, 100);
    gone.abort(new Error("went away"));
    await new Promise(() => undefined);
  })();
  await assert.rejects(run.backups.import(order, silent, gone.signal), /went away/);
  assert.deepEqual([list(run), backupFilesOf(host)], [[], []]);
});

test("what is being sent is no backup, and the reconciler leaves it alone", async () => {
  const { host, run, file } = await exportedSubject();
  const seen: unknown[] = [];
  const watched = (async function* (): AsyncGenerator<Uint8Array> {
    yield file.subarray(0, 100);
    await run.operations.reconcile();
    seen.push(
      list(run),
      backupFilesOf(host).map((name) => name.replace(/[0-9a-f]{32}/, "*")),
    );
    yield file.subarray(100);
  })();
  const order = { requestId: randomUUID(), name: "demo", sizeBytes: file.length };
  await run.backups.import(order, watched, new AbortController().signal);
  assert.deepEqual(seen, [[], ["import-*.partial"]]);
  assert.ok(existsSync(join(host.directory, "backups", readdirSync(join(host.directory, "backups"))[0] ?? "")));
  writeFileSync(join(host.directory, "backups", "import-f.partial"), "left");
  await run.operations.reconcile();
  assert.equal(backupFilesOf(host).length, 1);
});
