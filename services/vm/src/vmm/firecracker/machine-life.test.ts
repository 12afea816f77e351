import assert from "node:assert/strict";
import { afterEach, beforeEach, suite, test } from "node:test";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { type VmStart, vmmFail } from "../port.ts";
import { testDiskKey } from "../testing-disk-key.ts";
import { newVmId } from "../vmm-under-test.ts";
import { type FirecrackerVmm, openFirecrackerVmm } from "./adapter.ts";
import { createStubHost, type StubHost } from "./testing/stub-host.ts";

const within = { timeoutMs: 10_000, intervalMs: 2 };
let generation = 0;
const startOf = (vmId: string): VmStart => ({
  generation: ++generation,
  ...{ vmId, slot: 0, image: "base", vcpuCount: 2, memoryMib: 128 },
  identityDrive: new TextEncoder().encode("{}"),
});

suite("a Firecracker machine", () => {
  let host: StubHost;
  let vmm: FirecrackerVmm;
  let vmId: string;
  let unresponsive: [string, unknown][];
  let ended: [string, string][];
  /** Looks of the watchdog that wait until a test lets them happen. */
  let looks: (() => void)[];

  beforeEach(async () => {
    host = createStubHost({ images: ["base"] });
    unresponsive = [];
    ended = [];
    looks = [];
    vmm = openWith(30_000);
    vmId = newVmId();
    await vmm.prepare({ vmId, slot: 0, image: "base", overlayMib: 64, diskKey: testDiskKey });
  });
  const openWith = (callMs: number) =>
    openFirecrackerVmm(host, {
      onUnresponsive: (...report) => void unresponsive.push(report),
      onEnded: (endedVmId, { log }) => void ended.push([endedVmId, log.tail(1)[0] ?? ""]),
      deadlines: { callMs, snapshotMs: 30_000 },
      watchdog: {
        schedule(work) {
          looks.push(work);
          return () => {
            looks = looks.filter((look) => look !== work);
          };
        },
      },
    });
  afterEach(() => {
    vmm.close();
    host.close();
  });
  /** Lets the watchdog look once. */
  const look = async () => {
    const [work] = looks.splice(0, 1);
    assert.ok(work !== undefined, "the watchdog does not look any more");
    work();
  };
  const channelsClosed = () =>
    waitFor("the end of all channels", async () => host.openChannels === 0 || undefined, within);
  /** A look is done when the next one is due. */
  const looked = () => waitFor("the end of a look", async () => looks.length > 0 || undefined, within);

  test("what the VMM writes is kept, its metrics are counted", async () => {
    await vmm.start(startOf(vmId));
    const { machine } = host.stub(vmId);
    machine.write("/logger", "a warning\n\u001b[31mred\n");
    machine.write("/serial", "guest\n");
    machine.write("/metrics", '{"uart":{"rate_limiter_dropped_bytes":9},"logger":{"missed_log_count":2}}\n');
    const outputs = vmm.outputs(vmId);
    assert.ok(outputs !== undefined);
    const all = async () =>
      (outputs.log.keptLines === 2 && outputs.serial.keptLines === 1 && outputs.metrics.missedLogLines === 2) ||
      undefined;
    await waitFor("the outputs", all, within);
    assert.deepEqual(outputs.log.tail(5), ["a warning", "\\x1b[31mred"]);
    assert.equal(outputs.metrics.serialDroppedBytes, 9);
    host.exit(vmId);
    await channelsClosed();
    await look();
    await waitFor("the end to be told", async () => ended.length > 0 || undefined, within);
    assert.deepEqual(ended, [[vmId, "\\x1b[31mred"]]);
    assert.deepEqual(vmm.outputs(vmId)?.log.tail(1), ["\\x1b[31mred"], "lost with the VMM");
    await vmm.remove(vmId);
    assert.equal(vmm.outputs(vmId), undefined);
  });

  test("a reader that is gone does not block the VMM, and comes back with the next look", async () => {
    await vmm.start(startOf(vmId));
    host.dropChannels();
    await channelsClosed();
    const { machine } = host.stub(vmId);
    for (let round = 0; round < 100; round++) machine.write("/logger", "x".repeat(4096));
    await look();
    await looked();
    assert.equal(host.openChannels, 4);
    machine.write("/logger", "\nback\n");
    await waitFor("the log", async () => vmm.outputs(vmId)?.log.tail(1)[0] === "back" || undefined, within);
  });

  test("a VMM that stops answering is killed after three looks and told; its disk is kept", async () => {
    await vmm.start(startOf(vmId));
    vmm.close();
    vmm = openWith(100);
    await vmm.attachRunning();
    host.faults = [{ on: "GET /", kind: "hang" }];
    for (const round of [1, 2]) {
      await look();
      await looked();
      assert.deepEqual(unresponsive, [], `after ${round} looks`);
    }
    await look();
    await waitFor("the report", async () => unresponsive.length > 0 || undefined, within);
    const [[unresponsiveId, error] = []] = unresponsive;
    assert.deepEqual([unresponsiveId, reasonOf(error)], [vmId, "TIMED_OUT"]);
    assert.deepEqual(await vmm.list(), [{ vmId, slot: 0, state: "exited" }]);
    assert.deepEqual(host.leftovers(), []);
    assert.deepEqual([looks.length, ended.length], [0, 1]);
  });

  test("a VMM whose jail is not its own any more is killed like one that does not answer", async () => {
    await vmm.start(startOf(vmId));
    host.connect = () => Promise.reject(vmmFail("HOST_UNSAFE", "log.fifo is a link"));
    host.dropChannels();
    await channelsClosed();
    for (const _round of [1, 2]) {
      await look();
      await looked();
    }
    await look();
    await waitFor("the report", async () => unresponsive.length > 0 || undefined, within);
    assert.deepEqual(await vmm.list(), [{ vmId, slot: 0, state: "exited" }]);
  });

  test("a host that cannot be reached is no reason to kill a VM, and a VM that ended is not looked at", async () => {
    await vmm.start(startOf(vmId));
    host.unreachable = true;
    host.dropChannels();
    await channelsClosed();
    for (let round = 0; round < 5; round++) {
      await look();
      await looked();
    }
    host.unreachable = false;
    host.exit(vmId);
    await channelsClosed();
    await look();
    await waitFor("the end to be told", async () => ended.length > 0 || undefined, within);
    assert.deepEqual([looks.length, unresponsive.length], [0, 0]);
  });

  test("a VM of which the host knows nothing any more is forgotten, one that ended is not", async () => {
    await vmm.start(startOf(vmId));
    host.exit(vmId);
    await vmm.attachRunning();
    assert.ok(vmm.outputs(vmId) !== undefined, "what it wrote last");
    await host.remove(vmId);
    await vmm.attachRunning();
    assert.equal(vmm.outputs(vmId), undefined);
    assert.equal(looks.length, 0);
  });

  test("a VM that is started again is watched once, and its outputs begin anew", async () => {
    await vmm.start(startOf(vmId));
    const first = vmm.outputs(vmId);
    host.exit(vmId);
    await vmm.start(startOf(vmId));
    assert.equal(looks.length, 1);
    assert.notEqual(vmm.outputs(vmId), first);
  });

  test("a VM that seemed to have ended, and runs, is watched again", async () => {
    await vmm.start(startOf(vmId));
    const { connect } = host;
    host.connect = () => Promise.reject(vmmFail("NOT_FOUND", "it does not run"));
    host.dropChannels();
    await channelsClosed();
    await look();
    await waitFor("the end to be told", async () => ended.length > 0 || undefined, within);
    assert.equal(looks.length, 0);
    host.connect = connect;
    await vmm.attachRunning();
    await look();
    await looked();
    assert.equal(host.openChannels, 4);
  });

  test("a VMM that cannot be killed is told as such, and watched again", async () => {
    await vmm.start(startOf(vmId));
    host.faults = [{ on: "GET /", kind: "refuse", message: "no" }];
    host.stopFailure = vmmFail("UNAVAILABLE", "down");
    for (const _round of [1, 2]) {
      await look();
      await looked();
    }
    await look();
    await waitFor("the report", async () => unresponsive.length > 0 || undefined, within);
    assert.ok(unresponsive[0]?.[1] instanceof AggregateError);
    assert.equal(looks.length, 0);
    await vmm.attachRunning();
    assert.equal(looks.length, 1);
  });
});
