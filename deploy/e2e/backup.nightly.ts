import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import { promisify } from "node:util";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { type Backup, TenantState } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { checkout } from "../client/stack-env.ts";
import { run } from "../dev/command.ts";
import { describeInstance } from "../dev/instance.ts";
import { openStack } from "../dev/stack.ts";
import { filesBelow, Marker } from "./canary/search.ts";
import { clearFault, faultReached, setFault } from "./faults/control.ts";
import { killAndReplace } from "./faults/kill.ts";
import {
  ask,
  assertUnchangedSince,
  clients,
  env,
  eventually,
  evict,
  giveSecret,
  instance,
  settledInventory,
  spawn,
  whoami,
} from "./subject.ts";

const [name, copy] = ["saver", "saver-copy"];
const runDir = env.LOBSTERD_RUN_DIR;
const backupsDir = join(env.LOBSTERD_STATE_DIR, "vm", "backups");
const stack = openStack(describeInstance(instance));
const directory = mkdtempSync(join(tmpdir(), "lobsterd-backup-story-"));
const exported = join(directory, "exported.backup");
/** On the disk of the guest only. */
const marker = `backup-canary-${randomBytes(16).toString("hex")}`;
let inventory: readonly string[] = [];
let backup: Backup;
let vmId = "";
let files = "";

before(async () => {
  inventory = await settledInventory();
});

afterEach(() => clearFault(runDir));

after(async () => {
  clearFault(runDir);
  await evict(copy);
  await evict(name);
  rmSync(directory, { recursive: true });
});

/** What `lobster` prints; rejects with what it says of a failure. */
async function lobster(...parameters: string[]): Promise<string> {
  const environment = { ...process.env, ...env };
  const main = join(checkout, "deploy/cli/main.ts");
  return (await promisify(execFile)(process.execPath, [main, ...parameters], { env: environment })).stdout;
}

async function post<T>(tenant: string, path: string, parameters: unknown): Promise<T> {
  const { status, body } = await ask(tenant, {
    method: "POST",
    path,
    body: JSON.stringify(parameters),
    timeoutMs: 90_000,
  });
  assert.equal(status, 200, body);
  return JSON.parse(body);
}

/** Runs a shell command in the guest, as root. */
async function shell(tenant: string, command: string): Promise<string> {
  const parameters = { command: ["/bin/sh", "-c", command], user: "root", timeoutMs: 60_000 };
  const ran = await post<{ exitCode: number; stdout: string; stderr: string }>(tenant, "/run", parameters);
  assert.equal(ran.exitCode, 0, ran.stderr);
  return ran.stdout;
}

const digests = (tenant: string) =>
  shell(tenant, "cd /var/lib/story && stat -c '%n %s %a %u %y' * deep/* && sha256sum marker deep/random");
const listed = async () => (await clients.tenants.listBackups({ name })).backups;
const remembered = (text?: string) => post<{ text: string; pid: number }>(name, "/remember", { text });

/** What a guest's agent proves itself by. */
async function certificateOf(id: string): Promise<{ names: string; publicKey: string }> {
  const { networks } = await clients.net.listNetworks({});
  const host = networks.find((network) => network.vmId === id)?.guestAddress;
  const program = `const socket = require("node:tls").connect(
    { host: "${host}", port: 7443, rejectUnauthorized: false },
    () => {
      const { subjectaltname, pubkey } = socket.getPeerCertificate();
      console.log(JSON.stringify({ names: subjectaltname, publicKey: pubkey.toString("hex") }));
      process.exit();
    })`;
  const inInstance = [
    "nsenter",
    `--net=${describeInstance(instance).netnsPath}`,
    "--",
    process.execPath,
    "-e",
    program,
  ];
  return JSON.parse((await run(inInstance)).stdout);
}

/** Files of the tenant's microVM beside its disk and the launcher's records. */
const copiesOfDisks = () =>
  readdirSync(join(env.LOBSTERD_STATE_DIR, "vms", vmId)).filter((file) => /(copy|next)/.test(file));

/** What an attacker on the host sees: the marker in any file, backups and disks among them. */
function filesWithMarker(): readonly string[] {
  const search = new Marker(marker);
  return filesBelow(env.LOBSTERD_STATE_DIR).filter((path) => search.isInFile(path));
}

test("a running tenant is backed up with what it has just written, and goes on", async () => {
  await giveSecret(name, "api-key");
  ({ vmId } = await spawn(name, "probe"));
  await shell(
    name,
    `mkdir -p /var/lib/story/deep && cd /var/lib/story && echo ${marker} > marker && head -c 8000000 /dev/urandom > deep/random && ln -s marker link`,
  );
  files = await digests(name);
  const before = await remembered("still here");
  const created = await clients.tenants.createBackup({ requestId: randomUUID(), name });
  assert.ok(created.backup);
  backup = created.backup;
  assert.deepEqual(
    (await listed()).map(({ backupId }) => backupId),
    [backup.backupId],
  );
  const now = await remembered();
  assert.deepEqual([now.text, now.pid], ["still here", before.pid], "the same process, with its memory");
  assert.equal((await clients.tenants.getTenant({ name })).tenant?.generation, 1);
  const beforeMs = Date.now();
  const guestMs = Number(await shell(name, "date +%s%3N"));
  assert.ok(guestMs > beforeMs - 1_000 && guestMs < Date.now() + 1_000, `guest ${guestMs}, host from ${beforeMs}`);
  assert.deepEqual(readdirSync(backupsDir), [`${vmId}-1.sealed`]);
  assert.ok(backup.sizeBytes < 40_000_000n, `${backup.sizeBytes} bytes for 8 MB on a disk of ${backup.diskMib} MiB`);
  assert.deepEqual(filesWithMarker(), []);
});

test("restored to a new name its files are equal, and identity, keys and secrets are its own", async () => {
  await shell(name, "echo later > /var/lib/story/later");
  const request = { requestId: randomUUID(), name: copy, backupId: backup.backupId };
  const { tenant } = await clients.tenants.restoreBackup(request);
  assert.ok(tenant);
  assert.equal(tenant.state, TenantState.RUNNING);
  assert.notEqual(tenant.vmId, vmId);
  assert.equal(await digests(copy), files);
  assert.equal(await shell(copy, "cat /var/lib/story/link"), `${marker}\n`);
  const [own, other] = [await whoami(name), await whoami(copy)];
  assert.deepEqual([other.tenant, other.vmId, other.secrets], [copy, tenant.vmId, {}]);
  assert.notDeepEqual(own.secrets, {});
  const [first, second] = [await certificateOf(vmId), await certificateOf(tenant.vmId)];
  assert.match(first.names, new RegExp(`/guest/${name}/${vmId}/1`));
  assert.match(second.names, new RegExp(`/guest/${copy}/${tenant.vmId}/1`));
  assert.notEqual(first.publicKey, second.publicKey);
  await evict(copy);
});

test("restored in its own place a suspended tenant boots from the backup", async () => {
  await clients.tenants.suspendTenant({ requestId: randomUUID(), name });
  const request = { requestId: randomUUID(), name, backupId: backup.backupId };
  const { tenant } = await clients.tenants.restoreBackup(request);
  assert.deepEqual([tenant?.state, tenant?.vmId], [TenantState.RUNNING, vmId]);
  assert.ok((tenant?.generation ?? 0) > 1);
  assert.equal(await digests(name), files, "what came later is gone");
  assert.notEqual((await remembered()).text, "still here", "its memory is given up");
});

for (const step of ["copy-disk", "seal-disk"] as const) {
  test(`kill -9 of vm when ${step} of a backup is done leaves the tenant running and nothing listed`, async () => {
    const before = await remembered("through the crash");
    setFault(runDir, { step, moment: "done", action: "hold" });
    const call = new AbortController();
    const making = clients.tenants.createBackup({ requestId: randomUUID(), name }, { signal: call.signal });
    const ended = assert.rejects(making);
    await faultReached(runDir);
    // A client that is still there would repeat its call after the crash.
    call.abort();
    await ended;
    await killAndReplace(stack, "vm", () => clearFault(runDir));
    const now = await eventually("the guest", 60_000, () => remembered().catch(() => undefined));
    assert.deepEqual([now.text, now.pid], ["through the crash", before.pid]);
    assert.equal((await clients.tenants.getTenant({ name })).tenant?.state, TenantState.RUNNING);
    assert.deepEqual(
      (await listed()).map(({ backupId }) => backupId),
      [backup.backupId],
    );
    await eventually("the sweep", 30_000, async () => readdirSync(backupsDir).length === 1 || undefined);
    assert.deepEqual(copiesOfDisks(), []);
  });
}

test("an exported file is its owner's alone, tells nothing, and is imported as the same backup", async () => {
  const { backupId } = backup;
  await lobster("backup", "export", name, backupId, exported);
  assert.equal(statSync(exported).mode & 0o777, 0o600);
  assert.equal(new Marker(marker).isInFile(exported), false);
  await assert.rejects(lobster("backup", "export", name, backupId, exported), /exists \(USAGE\)/);
  await lobster("backup", "rm", name, backupId);
  assert.deepEqual([await listed(), readdirSync(backupsDir)], [[], []]);
  await lobster("backup", "import", name, exported);
  assert.match(await lobster("backup", "ls", name, "-q"), new RegExp(`^${backupId}\n$`));
});

test("after the eviction nothing is left, and the copy is refused, also by a tenant of the same name", async () => {
  await evict(name);
  assert.deepEqual(readdirSync(backupsDir), []);
  await assertUnchangedSince(inventory);
  assert.ok(existsSync(exported) && readFileSync(exported).length > 8_000_000);
  await assert.rejects(lobster("backup", "import", name, exported), /\(BACKUP_KEY_GONE\)/);
  await spawn(name, "probe");
  await assert.rejects(lobster("backup", "import", name, exported), /\(BACKUP_KEY_GONE\)/);
  const request = { requestId: randomUUID(), name: copy, backupId: backup.backupId };
  assert.equal(await clients.tenants.restoreBackup(request).catch(reasonOf), "BACKUP_NOT_FOUND");
});
