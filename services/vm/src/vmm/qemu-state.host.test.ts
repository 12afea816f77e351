import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, lstatSync, readdirSync, readFileSync } from "node:fs";
import { PassThrough, Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { after, before, suite, test } from "node:test";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { type LauncherTestHost, launcherTestHost } from "../launcher/testing.ts";
import { type Launcher, startLauncher, stopLauncher } from "../launcher/testing-process.ts";
import { openVmmByLauncher } from "./by-launcher.ts";
import type { VmmPort } from "./port.ts";
import { guestBehindMonitor } from "./qemu/testing/guest-behind-monitor.ts";
import { testDiskKey } from "./testing-disk-key.ts";
import { newVmId } from "./vmm-under-test.ts";

const skip = process.getuid?.() === 0 ? false : "needs root";

suite("saved states of QEMU", { skip }, () => {
  let host: LauncherTestHost;
  let launcher: Launcher;
  let port: VmmPort;
  let vmId: string;
  let generation = 0;

  const connect = async () => {
    launcher = await startLauncher(host);
    port = openVmmByLauncher(launcher.port, { onUnresponsive: () => {}, onEnded: () => {} });
  };
  const startOf = (memoryMib = 64) => {
    generation += 1;
    return {
      ...{ vmId, slot: 0, image: "base", vcpuCount: 1, memoryMib, generation },
      identityDrive: new TextEncoder().encode("{}"),
    };
  };
  const stateOf = async () => (await port.list()).find((vm) => vm.vmId === vmId)?.state;
  const guest = () => guestBehindMonitor(launcher.port);
  const save = async (): Promise<Buffer> => {
    const sink = new PassThrough();
    const [, state] = await Promise.all([port.save(vmId, sink), buffer(sink)]);
    return state;
  };
  const withVm = async (work: () => Promise<void>) => {
    vmId = newVmId();
    generation = 0;
    await port.prepare({ vmId, slot: 0, image: "base", overlayMib: 64, diskKey: testDiskKey });
    try {
      await port.start(startOf());
      await work();
    } finally {
      await port.remove(vmId);
    }
    assert.deepEqual(await port.list(), []);
  };

  before(async () => {
    host = launcherTestHost();
    host.installHaltingImage("base");
    host.addSlot(0);
    await connect();
  });
  after(async () => {
    if (launcher !== undefined) await stopLauncher(launcher, "SIGTERM");
    host?.close();
  });

  test("a guest goes on through five cycles, each out of the state of the one before", async () => {
    await withVm(async () => {
      const mark = await guest().readMark(vmId);
      for (let cycle = 0; cycle < 5; cycle += 1) {
        const state = await save();
        await port.stop(vmId);
        await port.load(startOf(), Readable.from([Buffer.from(state)]));
        assert.equal(await guest().runs(vmId), false);
        await port.resume(vmId);
        assert.deepEqual([await guest().runs(vmId), await guest().readMark(vmId)], [true, mark]);
      }
    });
  });

  test("a state that QEMU cannot take ends it, whatever frames it came in", async () => {
    await withVm(async () => {
      const state = await save();
      await port.stop(vmId);
      const magic = state.indexOf("QEVM");
      assert.ok(magic > 0);
      const version = Buffer.from(state);
      version.writeUInt32BE(77, magic + 4);
      const section = Buffer.from(state);
      section.write("xxxx", section.indexOf("microvm.ram"));
      for (const bad of [version, section]) {
        // It may be gone before its monitor was reached, or after.
        await assert.rejects(
          port.load(startOf(), Readable.from([bad])),
          (error: Error & { reason?: string }) => error.reason === "VMM_FAILED" || /ECONNREFUSED/.test(error.message),
        );
        assert.equal(await stateOf(), "exited");
      }
      await assert.rejects(port.load(startOf(128), Readable.from([Buffer.from(state)])), { reason: "VMM_FAILED" });
      const other = Buffer.from(state.toString("latin1").replace('"vmm":"qemu"', '"vmm":"qemv"'), "latin1");
      await assert.rejects(port.load(startOf(), Readable.from([other])), { reason: "MACHINE_MISMATCH" });
      assert.equal(await stateOf(), "exited");
    });
  });

  test("a launcher killed while a VM is saved or loaded leaves one that the next launcher manages", async () => {
    const replaceLauncher = async () => {
      await stopLauncher(launcher, "SIGKILL");
      await connect();
    };
    await withVm(async () => {
      const mark = await guest().readMark(vmId);
      await save();
      await replaceLauncher();
      assert.equal(await guest().runs(vmId), false);
      await port.unpause(vmId);
      assert.equal(await guest().readMark(vmId), mark);
      const state = await save();
      await port.stop(vmId);
      await port.load(startOf(), Readable.from([Buffer.from(state)]));
      await replaceLauncher();
      assert.equal(await guest().runs(vmId), false);
      await port.resume(vmId);
      assert.equal(await guest().readMark(vmId), mark);
    });
  });

  test("a launcher killed in the middle of a save or a load gives no complete state and no running guest", async () => {
    await withVm(async () => {
      const mark = await guest().readMark(vmId);
      const sink = new PassThrough({ highWaterMark: 1 });
      const saving = assert.rejects(port.save(vmId, sink));
      await once(sink, "readable"); // the header, and nobody reads on
      await stopLauncher(launcher, "SIGKILL");
      sink.resume();
      await saving;
      assert.ok(sink.destroyed && !sink.writableFinished);
      await connect();
      await port.unpause(vmId);
      assert.deepEqual([await guest().runs(vmId), await guest().readMark(vmId)], [true, mark]);
      const state = await save();
      await port.stop(vmId);
      const half = new PassThrough();
      half.write(state.subarray(0, state.length / 2));
      const loading = assert.rejects(port.load(startOf(), half));
      await waitFor("the first bytes' way", async () => half.readableLength === 0 || undefined, {
        timeoutMs: 10_000,
        intervalMs: 5,
      });
      await stopLauncher(launcher, "SIGKILL");
      half.end();
      await loading;
      await connect();
      const exited = async () => (await stateOf()) === "exited" || undefined;
      await waitFor("QEMU's end", exited, { timeoutMs: 10_000, intervalMs: 10 });
      await port.load(startOf(), Readable.from([Buffer.from(state)]));
    });
  });

  test("guest memory is in the state and in no file of the host", async () => {
    await withVm(async () => {
      const words = [...(await guest().readMark(vmId)).matchAll(/0x([0-9a-f]{8})\b/g)].map(([, word = ""]) => word);
      const mark = Buffer.concat(words.map((word) => Buffer.from(word, "hex").reverse()));
      const holds = () =>
        filesBelow([host.config.runDir, `${host.config.stateDir}/vms`]).filter((file) =>
          readFileSync(file).includes(mark),
        );
      const state = await save();
      assert.ok(state.includes(mark), "the mark is not in the state: nothing was shown");
      assert.deepEqual(holds(), []);
      await port.stop(vmId);
      await port.load(startOf(), Readable.from([Buffer.from(state)]));
      assert.deepEqual(holds(), []);
    });
  });

  test("the launcher's socket in the jail is gone after each save", async () => {
    await withVm(async () => {
      await save();
      const names = readdirSync(`${host.config.runDir}/jails/${vmId}/run`);
      assert.deepEqual(names, ["qmp.sock"]);
    });
  });
});

function filesBelow(directories: readonly string[]): string[] {
  return directories.flatMap((directory) =>
    readdirSync(directory, { recursive: true, encoding: "utf8" })
      .map((name) => `${directory}/${name}`)
      // A network namespace is a file that cannot be read.
      .filter((file) => !file.includes("/netns/") && existsSync(file) && lstatSync(file).isFile()),
  );
}
