import assert from "node:assert/strict";
import { PassThrough, Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { afterEach, beforeEach, suite, test } from "node:test";
import { Code } from "@connectrpc/connect";
import { ServiceError } from "@lobsterd/chassis/errors.ts";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import type { VmStart } from "../port.ts";
import { testDiskKey } from "../testing-disk-key.ts";
import { newVmId } from "../vmm-under-test.ts";
import { type FirecrackerVmm, openFirecrackerVmm } from "./adapter.ts";
import { noPublishedApi, readPublishedApi } from "./testing/published-api.ts";
import type { StubFault } from "./testing/stub-faults.ts";
import { createStubHost, type StubHost } from "./testing/stub-host.ts";

/** Nothing waits for these: whoever tests a deadline has a shorter one. */
const deadlines = { callMs: 30_000, snapshotMs: 30_000 };
let generation = 0;
const startOf = (vmId: string): VmStart => ({
  generation: ++generation,
  ...{ vmId, slot: 0, image: "base", vcpuCount: 2, memoryMib: 128 },
  identityDrive: new TextEncoder().encode("{}"),
});

suite("Firecracker's adapter", () => {
  let host: StubHost;
  let vmm: FirecrackerVmm;
  let vmId: string;
  beforeEach(async () => {
    host = createStubHost({ images: ["base"], slotCount: 8 });
    vmm = openFirecrackerVmm(host, { onUnresponsive: () => {}, onEnded: () => {}, deadlines });
    vmId = newVmId();
    await vmm.prepare({ vmId, slot: 0, image: "base", overlayMib: 64, diskKey: testDiskKey });
  });
  afterEach(() => {
    vmm.close();
    host.close();
  });
  const asked = () => host.stub(vmId).requests.map(({ method, path }) => `${method} ${path}`);
  /** Nothing runs or is connected, the disk is there, and the identity drive is not. */
  const assertUnstarted = async (message: string, state: "prepared" | "exited" = "exited") => {
    assert.deepEqual(await vmm.list(), [{ vmId, slot: 0, state }], message);
    assert.deepEqual(host.leftovers(), [], message);
    assert.equal(host.identityDrive(vmId).length, 0, message);
    assert.equal(vmm.outputs(vmId), undefined, message);
  };
  const channelsClosed = () =>
    waitFor("the end of all channels", async () => host.openChannels === 0 || undefined, {
      timeoutMs: 5_000,
      intervalMs: 1,
    });

  test("makes exactly these calls, in this order, over one connection", async () => {
    const { stagesMs } = await vmm.start(startOf(vmId));
    assert.deepEqual(asked(), [
      ...["GET /", "GET /version", "GET /", "PUT /logger", "PUT /metrics", "PUT /serial", "PUT /machine-config"],
      ...["PUT /boot-source", "PUT /drives/rootfs", "PUT /drives/overlay", "PUT /drives/cfg"],
      ...["PUT /network-interfaces/eth0", "PUT /entropy", "GET /vm/config", "PUT /actions"],
    ]);
    assert.equal(host.openChannels, 4);
    for (const [stage, durationMs] of Object.entries(stagesMs)) assert.ok(durationMs >= 0, stage);
  });

  test("every request is a published one in the state in which it was made", { skip: noPublishedApi }, async () => {
    const published = readPublishedApi();
    await vmm.start(startOf(vmId));
    const sink = new PassThrough();
    const [, state] = await Promise.all([vmm.save(vmId, sink), buffer(sink)]);
    const saved = host.stub(vmId).requests;
    await vmm.stop(vmId);
    await vmm.load(startOf(vmId), Readable.from([state]));
    await vmm.resume(vmId);
    const { requests } = host.stub(vmId);
    assert.ok(saved.length > 18 && requests.length > 8);
    for (const { answer, state, ...request } of [...saved, ...requests]) {
      assert.deepEqual(published.requestFaults(request, state !== "Not started"), []);
      assert.ok(answer.status < 300, `${request.method} ${request.path}`);
    }
  });

  test("a machine that may not be is refused before anything is done", async () => {
    await assert.rejects(vmm.start({ ...startOf(vmId), vcpuCount: 3 }), { reason: "INVALID_REQUEST" });
    await assertUnstarted("odd CPUs", "prepared");
  });

  const steps = ["GET /", "GET /version", "PUT /logger", "PUT /drives/cfg", "GET /vm/config", "PUT /actions"];
  const faults: readonly (readonly [string, (on: string) => StubFault, string])[] = [
    ["refuses", (on) => ({ on, kind: "refuse", message: "no" }), "VMM_FAILED"],
    ["ends", (on) => ({ on, kind: "die" }), "VMM_FAILED"],
    ["is cut off", (on) => ({ on, kind: "cut-off" }), "VMM_FAILED"],
    ["sends a gigabyte", (on) => ({ on, kind: "gigabyte" }), "INVALID_ANSWER"],
    ["never stops sending", (on) => ({ on, kind: "endless" }), "INVALID_ANSWER"],
    ["never stops its headers", (on) => ({ on, kind: "endless-headers" }), "INVALID_ANSWER"],
    ["sends no HTTP", (on) => ({ on, kind: "raw", bytes: "\0".repeat(20_000) }), "INVALID_ANSWER"],
    ["answers with another status", (on) => ({ on, kind: "answer", status: 202, body: {} }), "INVALID_ANSWER"],
  ];
  for (const [name, fault, reason] of faults) {
    test(`a VMM that ${name} at any step is ${reason}, and nothing of the start is left`, async () => {
      for (const on of steps) {
        host.faults = [fault(on)];
        await assert.rejects(vmm.start(startOf(vmId)), { reason }, on);
        await assertUnstarted(on);
      }
      host.faults = [];
      await vmm.start(startOf(vmId));
    });
  }

  test("a VMM that hangs or drips is VMM_FAILED when its deadline is over", async () => {
    vmm = openFirecrackerVmm(host, {
      onUnresponsive: () => {},
      onEnded: () => {},
      deadlines: { callMs: 100, snapshotMs: 100 },
    });
    for (const kind of ["hang", "drip"] as const) {
      host.faults = [{ on: "PUT /drives/overlay", kind }];
      await assert.rejects(vmm.start(startOf(vmId)), { reason: "VMM_FAILED" });
      await assertUnstarted(kind);
    }
  });

  test("a VMM that answers each call just in time does not hold a start up beyond its limit", async () => {
    vmm = openFirecrackerVmm(host, {
      onUnresponsive: () => {},
      onEnded: () => {},
      deadlines: { callMs: 600_000, snapshotMs: 1 },
      startLimitMs: 200,
    });
    host.faults = [{ on: "PUT /entropy", kind: "hang" }];
    await assert.rejects(vmm.start(startOf(vmId)), { reason: "VMM_FAILED" });
    await assertUnstarted("limit");
  });

  const lies: readonly (readonly [string, unknown, string])[] = [
    ["GET /vm/config", { vsock: { guest_cid: 3, uds_path: "/v.sock" } }, "vsock"],
    ["GET /vm/config", { balloon: { amount_mib: 1, deflate_on_oom: true } }, "balloon"],
    ["GET /vm/config", { "machine-config": { mem_size_mib: 129 } }, "machine-config.mem_size_mib"],
    ["GET /vm/config", { "machine-config": { cpu_template: "T2" } }, "machine-config.cpu_template"],
    ["GET /vm/config", { "boot-source": { boot_args: "init=/bin/sh" } }, "boot-source.boot_args"],
    ["GET /vm/config", { drives: [] }, "drives"],
    ["GET /version", { firecracker_version: "1.14.0" }, "1.14.0"],
    ["GET /", { id: "somebody-else" }, "somebody-else"],
    ["GET /", { state: "Running" }, "Running"],
  ];
  test("a VMM that differs from what was ordered is MACHINE_MISMATCH, names it, and never runs", async () => {
    for (const [on, changes, name] of lies) {
      host.faults = [{ on, kind: "lie", changes }];
      await assert.rejects(
        vmm.start(startOf(vmId)),
        (error: ServiceError) => error.reason === "MACHINE_MISMATCH" && error.message.includes(name),
        name,
      );
      assert.ok(!asked().includes("PUT /actions"), name);
      await assertUnstarted(name);
    }
  });

  test("a device that somebody else adds over the API is caught by the comparison", async () => {
    const added: readonly (readonly [string, unknown, string])[] = [
      ["/vsock", { guest_cid: 3, uds_path: "/v.sock" }, "vsock"],
      ["/balloon", { amount_mib: 0, deflate_on_oom: false }, "balloon"],
      ["/pmem/p", { id: "p", path_on_host: "/overlay.ext4" }, "pmem"],
      ["/mmds/config", { network_interfaces: ["eth0"] }, "mmds-config"],
      ["/hotplug/memory", { total_size_mib: 1024 }, "memory-hotplug"],
      ["/drives/more", { drive_id: "more", is_root_device: false, path_on_host: "/vmlinux" }, "drives has 4 entries"],
      ["/network-interfaces/eth1", { iface_id: "eth1", host_dev_name: "tap1" }, "network-interfaces has 2 entries"],
    ];
    for (const [path, body, name] of added) {
      const connect = host.connect;
      host.connect = async (...request) => {
        const stream = await connect(...request);
        if (request[1] === "api")
          assert.equal(host.stub(vmId).machine.answer({ method: "PUT", path, body }).status, 204);
        return stream;
      };
      await assert.rejects(
        vmm.start(startOf(vmId)),
        (error: ServiceError) => error.reason === "MACHINE_MISMATCH" && error.message.includes(name),
        name,
      );
      host.connect = connect;
      await assertUnstarted(name);
    }
  });

  test("a VM whose process is not as ordered after the start is killed", async () => {
    host.placeFailure = new ServiceError(
      { reason: "JAIL_MISMATCH", domain: "vmm.lobsterd", code: Code.Internal },
      "kvm-pit",
    );
    await assert.rejects(vmm.start(startOf(vmId)), { reason: "JAIL_MISMATCH" });
    await assertUnstarted("place");
  });

  test("a start that failed and could not be stopped says both", async () => {
    host.faults = [{ on: "PUT /actions", kind: "refuse", message: "no" }];
    host.stopFailure = new ServiceError(
      { reason: "UNAVAILABLE", domain: "vmm.lobsterd", code: Code.Unavailable },
      "down",
    );
    await assert.rejects(vmm.start(startOf(vmId)), {
      reason: "UNAVAILABLE",
      message: /VMM_FAILED.*could not be stopped/,
    });
    host.stopFailure = undefined;
    await vmm.remove(vmId);
    assert.deepEqual(host.leftovers(), []);
  });

  test("a removal that comes while a start is under way waits for it", async () => {
    const [started, removed] = await Promise.allSettled([vmm.start(startOf(vmId)), vmm.remove(vmId)]);
    assert.deepEqual([started.status, removed.status], ["fulfilled", "fulfilled"]);
    assert.deepEqual(await vmm.list(), []);
    assert.deepEqual(host.leftovers(), []);
    await channelsClosed();
  });

  test("after a restart of the launcher the VM is found again, and only if it is the same", async () => {
    await vmm.start(startOf(vmId));
    host.dropChannels();
    await channelsClosed();
    await vmm.pause(vmId);
    assert.equal(host.stub(vmId).machine.state, "Paused");
    host.dropChannels();
    await channelsClosed();
    host.faults = [{ on: "GET /", kind: "lie", changes: { id: newVmId() } }];
    await assert.rejects(vmm.resume(vmId), { reason: "MACHINE_MISMATCH" });
    assert.equal(host.stub(vmId).machine.state, "Paused", "another VM's socket was used");
  });

  test("after a restart of this process what runs is taken up, and what does not is not", async () => {
    await vmm.start(startOf(vmId));
    vmm.close();
    const next = openFirecrackerVmm(host, { onUnresponsive: () => {}, onEnded: () => {}, deadlines });
    await next.attachRunning();
    await next.attachRunning();
    await next.pause(vmId);
    assert.equal(host.stub(vmId).machine.state, "Paused");
    await assert.rejects(next.pause(newVmId()), { reason: "NOT_FOUND" });
    next.close();
  });
});
