import assert from "node:assert/strict";
import { PassThrough, Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { beforeEach, suite, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { vmmConformance } from "../conformance.ts";
import type { VmmPort } from "../port.ts";
import { testDiskKey } from "../testing-disk-key.ts";
import { newVmId } from "../vmm-under-test.ts";
import { openQemuVmm } from "./adapter.ts";
import { createStubQemuHost, type StubFault, type StubQemuHost } from "./testing/stub-host.ts";

vmmConformance("QEMU over the stub monitor", async () => {
  const host = createStubQemuHost({ images: ["base", "other"], slotCount: 8, slotsWithoutNetwork: [3] });
  return {
    port: openQemuVmm(host),
    exit: (vmId) => host.exit(vmId),
    readIdentityDrive: (vmId) => host.fake.identityDrive(vmId) ?? new Uint8Array(),
    guest: {
      readMark: async (vmId) => host.stub(vmId).memory,
      runs: async (vmId) => host.stub(vmId).status === "running",
    },
    close: () => {},
  };
});

suite("QEMU's adapter", () => {
  let host: StubQemuHost;
  let port: VmmPort;
  let vmId: string;
  const startOf = (generation: number) => ({
    ...{ vmId, slot: 0, image: "base", vcpuCount: 1, memoryMib: 64, generation },
    identityDrive: new Uint8Array(10),
  });
  const save = async () => {
    const sink = new PassThrough();
    const [, state] = await Promise.all([port.save(vmId, sink), buffer(sink).catch(() => Buffer.alloc(0))]);
    return state;
  };
  beforeEach(async () => {
    host = createStubQemuHost();
    port = openQemuVmm(host);
    vmId = newVmId();
    await port.prepare({ vmId, slot: 0, image: "base", overlayMib: 64, diskKey: testDiskKey });
    await port.start(startOf(1));
  });

  const faults: readonly StubFault[] = [
    "refuses to migrate",
    "fails the migration",
    "claims a migration that was cut off",
  ];
  for (const fault of faults)
    test(`a VMM that ${fault} leaves its guest running and no complete state`, async () => {
      host.fault = fault;
      const sink = new PassThrough();
      sink.resume();
      await assert.rejects(port.save(vmId, sink), { reason: "VMM_FAILED" });
      assert.ok(sink.destroyed && !sink.writableFinished);
      assert.equal(host.stub(vmId).status, "running");
      host.fault = undefined;
      assert.ok((await save()).length > 3_000_000);
    });

  test("a VMM that hangs in the migration is TIMED_OUT, and its guest goes on", async () => {
    port = openQemuVmm(host, { stallMs: 50 });
    host.fault = "hangs in the migration";
    await assert.rejects(save(), { reason: "TIMED_OUT" });
    assert.equal(host.stub(vmId).status, "running");
  });

  test("a sink that ends while a VMM hangs ends the save at once, with its own error", async () => {
    host.fault = "hangs in the migration";
    const sink = new PassThrough();
    sink.resume();
    const saving = port.save(vmId, sink);
    setTimeout(() => sink.destroy(new Error("nobody wants it")), 50);
    // It would stall for a minute.
    const late = delay(10_000, "late", { ref: false });
    await assert.rejects(Promise.race([saving, late]), /nobody wants it/);
    assert.equal(host.stub(vmId).status, "running");
  });

  test("a state that does not come is TIMED_OUT, and its VMM is stopped", async () => {
    port = openQemuVmm(host, { stallMs: 50 });
    await port.stop(vmId);
    const never = new PassThrough();
    await assert.rejects(port.load(startOf(2), never), { reason: "TIMED_OUT" });
    assert.ok(never.destroyed);
    assert.equal((await port.list())[0]?.state, "exited");
  });

  test("a VMM that ends in the migration is exited", async () => {
    host.fault = "ends in the migration";
    await assert.rejects(save(), { reason: "VMM_FAILED" });
    assert.equal((await port.list())[0]?.state, "exited");
  });

  test("a VMM that does not let its guest go on after a failure may be paused, and that is told", async () => {
    host.fault = "does not go on";
    const sink = new PassThrough();
    sink.destroy(new Error("full"));
    await assert.rejects(port.save(vmId, sink), { reason: "UNAVAILABLE" });
    host.fault = undefined;
    await port.unpause(vmId);
    assert.equal(host.stub(vmId).status, "running");
  });

  test("a VMM that runs what it loads, against its orders, is stopped", async () => {
    const state = await save();
    await port.stop(vmId);
    host.fault = "runs what it loads";
    await assert.rejects(port.load(startOf(2), Readable.from([Buffer.from(state)])), { reason: "VMM_FAILED" });
    assert.equal((await port.list())[0]?.state, "exited");
  });

  test("a VMM that has the whole state, and closes before its end was read here, has loaded it", async () => {
    const state = await save();
    await port.stop(vmId);
    const slowToEnd = Readable.from(
      (async function* () {
        yield state.subarray(0, -4);
        await delay(50);
        yield state.subarray(-4);
      })(),
    );
    await port.load(startOf(2), slowToEnd);
    assert.equal(host.stub(vmId).status, "paused");
  });

  test("a state of another version is refused", async () => {
    const state = await save();
    await port.stop(vmId);
    const other = Buffer.from(state.toString("latin1").replace("7.2.0", "7.2.1"), "latin1");
    await assert.rejects(port.load(startOf(2), Readable.from([other])), { reason: "MACHINE_MISMATCH" });
    await port.load(startOf(3), Readable.from([Buffer.from(state)]));
    assert.equal(host.stub(vmId).status, "paused");
  });
});
