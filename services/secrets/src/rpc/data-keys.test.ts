import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { reasonFrom } from "../testing/guests.ts";
import { type RunningService, runningService } from "../testing/running-service.ts";

let service: RunningService;
before(async () => {
  service = await runningService();
});
after(() => service?.close());

const snapshot = { purpose: "snapshot", objectId: "0123456789abcdef-1" };
const createKey = (tenant: string, change: Partial<typeof snapshot> = {}, requestId = randomUUID()) =>
  service.as("vm").createDataKey({ requestId, tenant, ...snapshot, ...change });
const unwrap = async (tenant: string, wrappedKey: Uint8Array, change: Partial<typeof snapshot> = {}) =>
  Buffer.from(
    (await service.as("vm").unwrapDataKey({ tenant, ...snapshot, ...change, wrappedKey })).plaintextKey?.value ?? [],
  );
const shred = (tenant: string) => service.as("vm").shredTenant({ requestId: randomUUID(), tenant });

test("a data key opens for its tenant, purpose and object and for nothing else, also after a restart", async () => {
  const made = await createKey("alice");
  const key = Buffer.from(made.plaintextKey?.value ?? []);
  assert.equal(key.length, 32);
  assert.match(made.keyId, /^[0-9a-f]{32}$/);
  await service.restart();
  assert.deepEqual(await unwrap("alice", made.wrappedKey), key);
  await createKey("bob");
  assert.equal(await reasonFrom(unwrap("bob", made.wrappedKey)), "SEAL_BROKEN");
  for (const purpose of ["backup", "disk"])
    assert.equal(await reasonFrom(unwrap("alice", made.wrappedKey, { purpose })), "SEAL_BROKEN");
  assert.equal(await reasonFrom(unwrap("alice", made.wrappedKey, { objectId: "0123456789abcdef-2" })), "SEAL_BROKEN");
  assert.equal(await reasonFrom(unwrap("nobody", made.wrappedKey)), "TENANT_KEY_DESTROYED");
});

test("after a shred nothing unwraps, not even once the tenant has a new key", async () => {
  const { wrappedKey } = await createKey("gone");
  await shred("gone");
  assert.equal(await reasonFrom(unwrap("gone", wrappedKey)), "TENANT_KEY_DESTROYED");
  await createKey("gone");
  assert.equal(await reasonFrom(unwrap("gone", wrappedKey)), "SEAL_BROKEN");
});

test("a root key's rotation leaves every data key to be opened", async () => {
  const made = await createKey("rotated");
  assert.equal(await reasonFrom(service.as("operator").rotateRootKey({ requestId: randomUUID() })), "OK");
  assert.deepEqual(await unwrap("rotated", made.wrappedKey), Buffer.from(made.plaintextKey?.value ?? []));
});

test("both are recorded before they answer, and without audit neither is answered", async () => {
  const { wrappedKey } = await createKey("recorded");
  await unwrap("recorded", wrappedKey);
  const intents = service.audit.entries.filter(({ tenant, phase }) => tenant === "recorded" && phase === "intent");
  assert.deepEqual(
    intents.map(({ action, resource }) => `${action} ${resource}`),
    [`CreateDataKey ${snapshot.objectId}`, `UnwrapDataKey ${snapshot.objectId}`],
  );
  service.audit.mode = "fail";
  try {
    assert.equal(await reasonFrom(createKey("recorded")), "AUDIT_UNAVAILABLE");
    assert.equal(await reasonFrom(unwrap("recorded", wrappedKey)), "AUDIT_UNAVAILABLE");
  } finally {
    service.audit.mode = "accept";
  }
});

test("a request id stands for one request, and no key is on disk or in the log", async () => {
  const requestId = randomUUID();
  const first = await createKey("kept", {}, requestId);
  const second = await createKey("kept", {}, requestId);
  assert.equal(await reasonFrom(createKey("kept", { purpose: "backup" }, requestId)), "REQUEST_ID_REUSED");
  const stateDir = join(service.directory, "state");
  const disk = Buffer.concat(readdirSync(stateDir).map((name) => readFileSync(join(stateDir, name))));
  for (const { plaintextKey, wrappedKey } of [first, second]) {
    const key = Buffer.from(plaintextKey?.value ?? []);
    assert.deepEqual(await unwrap("kept", wrappedKey), key);
    assert.equal(disk.includes(key), false);
    for (const encoding of ["hex", "base64"] as const)
      assert.equal(service.logLines.join("").includes(key.toString(encoding)), false);
  }
});
