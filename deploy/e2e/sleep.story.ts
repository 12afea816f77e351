import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { RouteState } from "@lobsterd/proto/lobsterd/proxy/v1/proxy_pb.ts";
import { TenantState } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { clearFault, faultReached, setFault } from "./faults/control.ts";
import { killAt, processesOfSlot, runDir, type Sleeper, sealedDir, spawnSleeper, spoolDir } from "./sleep/sleeper.ts";
import { copyDiskOf, openDisk } from "./sleep/tenant-disk.ts";
import { assertUnchangedSince, clients, env, evict, giveSecret, settledInventory, whoami } from "./subject.ts";

const name = "sleeper";
let inventory: readonly string[] = [];
let digest = "";
let sleeper: Sleeper;

before(async () => {
  inventory = await settledInventory();
  ({ digest } = await giveSecret(name, "api-key"));
  sleeper = await spawnSleeper(name);
});

afterEach(() => clearFault(runDir));

after(async () => {
  clearFault(runDir);
  await evict(name);
});

test("what a tenant wrote is in no file of the state directory, though its disk is", async () => {
  const opened = await openDisk(copyDiskOf(sleeper.tenant));
  assert.ok(opened.includes(sleeper.marker), "what is looked for is not on the disk");
  assert.deepEqual(sleeper.filesWithMarker(env.LOBSTERD_STATE_DIR), []);
});

test("a state is sealed as it leaves the VMM: the marker is in no file", async () => {
  const { slot } = sleeper.tenant;
  assert.equal(processesOfSlot(slot).length > 0, true);
  setFault(runDir, { step: "seal-state", moment: "done", action: "hold" });
  const suspending = sleeper.suspend();
  await faultReached(runDir);
  assert.equal(readdirSync(sealedDir).length, 1);
  assert.deepEqual(readdirSync(spoolDir), []);
  assert.deepEqual(sleeper.filesWithMarker(env.LOBSTERD_STATE_DIR), []);
  clearFault(runDir);
  assert.equal((await suspending).state, TenantState.SUSPENDED);
});

test("a suspended tenant is one sealed file: no plain text, no process, and a route that is asleep", async () => {
  const { vmId, slot } = sleeper.tenant;
  assert.deepEqual(readdirSync(sealedDir), [`${vmId}-1.sealed`]);
  assert.deepEqual(readdirSync(spoolDir), []);
  assert.deepEqual(sleeper.filesWithMarker(env.LOBSTERD_STATE_DIR), []);
  assert.deepEqual(processesOfSlot(slot), []);
  const { route } = await clients.routes.getRoute({ tenant: name });
  assert.deepEqual([route?.state, route?.guestAddress], [RouteState.ASLEEP, ""]);
  const refusal = await sleeper.suspend().catch(reasonOf);
  assert.equal(refusal, "TENANT_NOT_RUNNING");
});

test("resumed it has its memory, the next generation, its secrets and the host's time", async () => {
  setFault(runDir, { step: "open-state", moment: "done", action: "hold" });
  const resuming = sleeper.resume();
  await faultReached(runDir);
  // What is looked for is there to be found: this is the memory as it was saved.
  assert.deepEqual(sleeper.filesWithMarker(spoolDir), [join(spoolDir, `${sleeper.tenant.vmId}.state`)]);
  assert.deepEqual(sleeper.filesWithMarker(env.LOBSTERD_STATE_DIR), []);
  clearFault(runDir);
  const { state, generation, vmId } = await resuming;
  assert.deepEqual([state, generation, vmId], [TenantState.RUNNING, 2, sleeper.tenant.vmId]);
  await sleeper.requireMemory();
  assert.deepEqual((await whoami(name)).secrets, { "api-key": digest });
  const beforeMs = Date.now();
  const { stdout } = await sleeper.post<{ stdout: string }>("/run", { command: ["/usr/bin/date", "+%s.%N"] });
  const guestMs = Number.parseFloat(stdout) * 1000;
  assert.ok(guestMs > beforeMs - 1000 && guestMs < Date.now() + 1000, `guest ${guestMs}, host from ${beforeMs}`);
  assert.deepEqual(readdirSync(sealedDir), []);
  assert.deepEqual(readdirSync(spoolDir), []);
  const refusal = await sleeper.resume().catch(reasonOf);
  assert.equal(refusal, "TENANT_NOT_SUSPENDED");
});

test("a request to the suspended tenant wakes it, and is answered by what was in its memory", async () => {
  await sleeper.suspend();
  await sleeper.requireMemory();
  assert.equal(await sleeper.settled(), TenantState.RUNNING);
});

test("kill -9 of vm in a suspend leaves one guest with its memory before the seal, and a sealed file after it", async () => {
  await killAt("vm", "seal-state", "started", sleeper.suspend);
  if ((await sleeper.settled()) === TenantState.SUSPENDED) await sleeper.resume();
  await sleeper.requireMemory();
  await killAt("vm", "stop-microvm", "started", sleeper.suspend);
  assert.equal(await sleeper.settled(), TenantState.SUSPENDED);
  assert.deepEqual(processesOfSlot(sleeper.tenant.slot), []);
});

test("kill -9 of vm in a resume leaves the memory to be resumed before it is used up, and one guest after it", async () => {
  await killAt("vm", "load-state", "started", sleeper.resume);
  if ((await sleeper.settled()) === TenantState.RUNNING) await sleeper.suspend();
  await killAt("vm", "renew-identity", "started", sleeper.resume);
  assert.equal(await sleeper.settled(), TenantState.RUNNING);
  await sleeper.requireMemory();
});

test("a suspended tenant can be evicted, and nothing of it is left; a copy of its disk opens for nobody", async () => {
  await sleeper.suspend();
  const disk = copyDiskOf(sleeper.tenant);
  await evict(name);
  assert.deepEqual(readdirSync(sealedDir), []);
  await assertUnchangedSince(inventory);
  assert.equal(await openDisk(disk).catch(reasonOf), "TENANT_KEY_DESTROYED");
});
