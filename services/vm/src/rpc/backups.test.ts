import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import {
  BackupWorkKind,
  type ImportBackupRequestSchema,
  TenantService,
  TenantState,
} from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { holdingAt, openSubject } from "../backups/testing.ts";
import { serveRun } from "./fake-service.ts";

async function open(options: Parameters<typeof openSubject>[0] = {}) {
  const { host, database, run, vmId } = await openSubject(options);
  const { harness, records } = serveRun(host, database, run);
  return { harness, host, run, vmId, records, tenants: harness.as("role:operator", TenantService) };
}

type Tenants = Awaited<ReturnType<typeof open>>["tenants"];

const name = "demo";
const create = (tenants: Tenants, requestId = randomUUID()) => tenants.createBackup({ requestId, name });

async function exported(tenants: Tenants, backupId: string): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const { message } of tenants.exportBackup({ name, backupId })) {
    if (message.case === "backup") sizeBytes = Number(message.value.sizeBytes);
    if (message.case === "content") pieces.push(message.value);
  }
  const file = Buffer.concat(pieces);
  assert.equal(file.length, sizeBytes);
  return file;
}

async function* imported(file: Buffer): AsyncGenerator<MessageInitShape<typeof ImportBackupRequestSchema>> {
  const start = { requestId: randomUUID(), name, sizeBytes: BigInt(file.length) };
  yield { message: { case: "start", value: start } };
  for (let at = 0; at < file.length; at += 5_000)
    yield { message: { case: "content", value: file.subarray(at, at + 5_000) } };
}

test("a backup goes out of the host and comes back, and a tenant of it runs", async () => {
  const { tenants, records } = await open();
  const { backup } = await create(tenants);
  assert.ok(backup);
  assert.deepEqual([backup.tenant, backup.generation, backup.diskMib], [name, 1, 64]);
  assert.deepEqual((await tenants.listBackups({ name })).backups, [backup]);
  const { backupId } = backup;
  const file = await exported(tenants, backupId);
  await tenants.deleteBackup({ requestId: randomUUID(), name, backupId });
  assert.deepEqual((await tenants.listBackups({ name })).backups, []);
  assert.deepEqual((await tenants.importBackup(imported(file))).backup, backup);
  assert.deepEqual((await tenants.importBackup(imported(file))).backup, backup);
  const { tenant } = await tenants.restoreBackup({ requestId: randomUUID(), name: "copy", backupId });
  assert.equal(tenant?.state, TenantState.RUNNING);
  const told = records.entries
    .filter(({ action }) => action.endsWith("Backup"))
    .map(({ action, phase, tenant: of, resource }) => `${action} ${phase} ${of} ${resource === backupId}`);
  assert.deepEqual(told, [
    ...["CreateBackup intent demo false", "CreateBackup outcome demo false"],
    ...["ExportBackup intent demo true", "ExportBackup outcome demo true"],
    ...["DeleteBackup intent demo true", "DeleteBackup outcome demo true"],
    ...["ImportBackup intent demo false", "ImportBackup outcome demo false"],
    ...["ImportBackup intent demo false", "ImportBackup outcome demo false"],
    ...["RestoreBackup intent copy true", "RestoreBackup outcome copy true"],
  ]);
});

test("a list is paged, the newest first", async () => {
  const { tenants } = await open();
  const made = [(await create(tenants)).backup, (await create(tenants)).backup, (await create(tenants)).backup];
  const first = await tenants.listBackups({ name, page: { pageSize: 2 } });
  assert.deepEqual(first.backups, made.toReversed().slice(0, 2));
  const pageToken = first.page?.nextPageToken ?? "";
  const second = await tenants.listBackups({ name, page: { pageSize: 2, pageToken } });
  assert.deepEqual([second.backups, second.page?.nextPageToken], [made.slice(0, 1), ""]);
  assert.equal(await tenants.listBackups({ name: "other" }).catch(reasonOf), "TENANT_NOT_FOUND");
});

test("a repeated request has the same answer and one effect, and what is under way is shown", async () => {
  const held = holdingAt("seal-disk");
  const { tenants } = await open({ observe: held.observe });
  const requestId = randomUUID();
  const both = [create(tenants, requestId), create(tenants, requestId)];
  await held.reached;
  const { backups, work } = await tenants.listBackups({ name });
  assert.deepEqual([backups, work.map(({ kind }) => kind)], [[], [BackupWorkKind.CREATE]]);
  held.goOn();
  const [first, second] = await Promise.all(both);
  assert.deepEqual(first?.backup, second?.backup);
  assert.equal((await tenants.listBackups({ name })).backups.length, 1);
  const other = tenants.restoreBackup({ requestId, name: "copy", backupId: first?.backup?.backupId ?? "" });
  assert.equal(await other.catch(reasonOf), "REQUEST_ID_REUSED");
});

test("a viewer sees backups and does nothing with them", async () => {
  const { harness, tenants } = await open();
  const { backup } = await create(tenants);
  const viewer = harness.as("role:viewer", TenantService);
  assert.equal((await viewer.listBackups({ name })).backups.length, 1);
  const backupId = backup?.backupId ?? "";
  for (const call of [
    () => create(viewer),
    () => viewer.restoreBackup({ requestId: randomUUID(), name: "copy", backupId }),
    () => viewer.deleteBackup({ requestId: randomUUID(), name, backupId }),
    () => exported(viewer, backupId),
    () => viewer.importBackup(imported(Buffer.alloc(10))),
  ])
    await assert.rejects(call, (error) => ConnectError.from(error).code === Code.PermissionDenied);
});

test("without audit nothing is backed up, restored, imported or handed out, and a backup can still be deleted", async () => {
  const { tenants, records, host, vmId } = await open();
  const backupId = (await create(tenants)).backup?.backupId ?? "";
  const file = await exported(tenants, backupId);
  records.mode = "fail";
  for (const call of [
    () => create(tenants),
    () => tenants.restoreBackup({ requestId: randomUUID(), name: "copy", backupId }),
    () => exported(tenants, backupId),
    () => tenants.importBackup(imported(file)),
  ])
    assert.equal(await call().then(() => "done", reasonOf), "AUDIT_UNAVAILABLE");
  assert.ok(host.vmm.guestRuns(vmId));
  await tenants.deleteBackup({ requestId: randomUUID(), name, backupId });
});

test("an import that does not begin with start, or begins twice, is refused", async () => {
  const { tenants } = await open();
  const file = Buffer.alloc(10);
  const messages = await Array.fromAsync(imported(file));
  const send = (list: typeof messages) =>
    tenants
      .importBackup(
        (async function* () {
          yield* list;
        })(),
      )
      .catch(reasonOf);
  assert.equal(await send(messages.slice(1)), "IMPORT_INVALID");
  assert.equal(await send([...messages, ...messages]), "IMPORT_INVALID");
  assert.equal(await send([]), "IMPORT_INVALID");
});
