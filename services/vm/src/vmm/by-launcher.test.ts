import assert from "node:assert/strict";
import { PassThrough, Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { test } from "node:test";
import { openVmmByLauncher } from "./by-launcher.ts";
import { createFakeVmm } from "./fake.ts";
import { createStubHost } from "./firecracker/testing/stub-host.ts";
import { type VmmPort, vmmFail } from "./port.ts";
import { createStubQemuHost } from "./qemu/testing/stub-host.ts";
import { testDiskKey } from "./testing-disk-key.ts";
import { newVmId } from "./vmm-under-test.ts";

const vmId = newVmId();
const preparation = { vmId, slot: 0, image: "base", overlayMib: 64, diskKey: testDiskKey };
const start = {
  ...{ vmId, slot: 0, image: "base", vcpuCount: 2, memoryMib: 128, generation: 1 },
  identityDrive: new Uint8Array(10),
};
const options = { onUnresponsive: () => {}, onEnded: () => {} };

test("a launcher that runs Firecracker has its machines made, saved and loaded over the API", async () => {
  const host = createStubHost();
  const vmm = openVmmByLauncher(host, options);
  await vmm.prepare(preparation);
  await vmm.start(start);
  assert.equal(host.stub(vmId).machine.state, "Running");
  const next = openVmmByLauncher(host, options);
  vmm.close();
  await next.attachRunning();
  const sink = new PassThrough();
  const [, state] = await Promise.all([next.save(vmId, sink), buffer(sink)]);
  await next.stop(vmId);
  await next.load({ ...start, generation: 2 }, Readable.from([state]));
  assert.equal(host.stub(vmId).machine.state, "Paused");
  await next.resume(vmId);
  assert.equal(host.stub(vmId).machine.state, "Running");
  await next.remove(vmId);
  assert.deepEqual([await next.list(), host.leftovers()], [[], []]);
  next.close();
  host.close();
});

test("a launcher that runs QEMU has its guests saved over the monitor", async () => {
  const host = createStubQemuHost();
  const vmm = openVmmByLauncher(host, options);
  await vmm.prepare(preparation);
  await vmm.start(start);
  const sink = new PassThrough();
  const [, state] = await Promise.all([vmm.save(vmId, sink), buffer(sink)]);
  await vmm.stop(vmId);
  await vmm.load({ ...start, generation: 2 }, Readable.from([Buffer.from(state)]));
  assert.equal(host.stub(vmId).status, "paused");
  await vmm.resume(vmId);
  assert.equal(host.stub(vmId).status, "running");
  vmm.close();
});

test("a launcher that runs anything else is the port itself, with verbs for Firecracker or without", async () => {
  const fake = createFakeVmm();
  const never = async () => assert.fail("a verb of Firecracker's");
  for (const launcher of [fake, { ...fake, connect: never, place: never }]) {
    const vmm = openVmmByLauncher(launcher, options);
    await vmm.prepare(preparation);
    await vmm.start(start);
    await vmm.attachRunning();
    assert.deepEqual(await vmm.list(), [{ vmId, slot: 0, state: "running" }]);
    await vmm.remove(vmId);
    vmm.close();
  }
});

test("a launcher that runs Firecracker without the verbs starts nothing", async () => {
  const fake = createFakeVmm();
  const describe = async () => ({ ...(await fake.describe()), vmm: "firecracker" });
  const vmm = openVmmByLauncher({ ...fake, describe }, options);
  await assert.rejects(vmm.prepare(preparation), { reason: "UNAVAILABLE" });
  assert.deepEqual(await fake.list(), []);
});

test("a launcher that is not there yet is asked again, and the calls stay in order", async () => {
  const fake = createFakeVmm();
  let there = false;
  const describe = async () => (there ? fake.describe() : Promise.reject(vmmFail("UNAVAILABLE", "not there")));
  const made: string[] = [];
  const noting: VmmPort = {
    ...fake,
    describe,
    prepare: async () => void made.push("prepare"),
    remove: async () => void made.push("remove"),
  };
  const vmm = openVmmByLauncher(noting, options);
  await assert.rejects(vmm.list(), { reason: "UNAVAILABLE" });
  there = true;
  await Promise.all([vmm.prepare(preparation), vmm.remove(vmId)]);
  assert.deepEqual(made, ["prepare", "remove"]);
});
