import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { request } from "node:http";
import { Readable } from "node:stream";
import { buffer, text } from "node:stream/consumers";
import { suite, test } from "node:test";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { release } from "@lobsterd/chassis/release.ts";
import { snapshotCreation, snapshotLoad } from "../../vmm/firecracker/machine-document.ts";
import { testDiskKey } from "../../vmm/testing-disk-key.ts";
import { installStubs, launcherTestHost } from "../testing.ts";
import { type Launcher, startLauncher, stopLauncher } from "../testing-process.ts";
import { kvmMissing } from "./stub-subject.ts";

const skip = process.getuid?.() !== 0 ? "needs root" : process.arch !== "x64" ? "the stub is for x86-64" : false;
const start = (vmId: string, slot: number) => ({
  ...{ vmId, slot, image: "base", vcpuCount: 1, memoryMib: 64 },
  generation: 1,
  identityDrive: new TextEncoder().encode("{}"),
});

/** One HTTP exchange over a channel of its own, as the VMM adapter has them. */
async function ask({ port }: Launcher, vmId: string, method: string, path: string, body?: unknown): Promise<string> {
  const channel = await port.connect(vmId, "api");
  const bytes = body === undefined ? "" : JSON.stringify(body);
  const headers = { "content-length": bytes.length };
  const asking = request({ method, path, headers, createConnection: () => channel }).end(bytes);
  const [response] = await once(asking, "response");
  const answer = `${response.statusCode} ${await text(response)}`;
  channel.destroy();
  return answer;
}

/** As a load has them: each gives its memory back once the next one is asked for. */
async function* inPieces(bytes: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += 65_536) {
    const piece = Buffer.from(Uint8Array.from(bytes.subarray(at, at + 65_536)).buffer);
    yield piece;
    release(piece);
  }
}

async function withLauncher(
  work: (current: { launcher: Launcher }, restart: () => Promise<void>, runDir: string) => Promise<void>,
) {
  const host = launcherTestHost(installStubs);
  host.installHaltingImage("base");
  for (const slot of [0, 1, 2]) host.addSlot(slot);
  const current = { launcher: await startLauncher(host, "firecracker/stub-launcher.ts") };
  const restart = async () => {
    await stopLauncher(current.launcher, "SIGKILL");
    current.launcher = await startLauncher(host, "firecracker/stub-launcher.ts");
  };
  try {
    await work(current, restart, host.config.runDir);
  } finally {
    await stopLauncher(current.launcher, "SIGTERM");
    host.close();
  }
}

suite("the launcher's process with Firecracker's jail", { skip }, () => {
  test("does all of it with its capabilities and no others, over its socket, and another one goes on after a kill", () =>
    withLauncher(async (current, restart) => {
      const vmId = "1a".repeat(16);
      await current.launcher.port.prepare({ vmId, slot: 0, image: "base", overlayMib: 32, diskKey: testDiskKey });
      await current.launcher.port.start(start(vmId, 0));
      assert.match(await ask(current.launcher, vmId, "GET", "/"), /^200 .*1\.16\.1/);
      assert.match(await ask(current.launcher, vmId, "PUT", "/actions"), /^204/);
      const kvmPit = kvmMissing() === undefined ? "placed" : "none";
      assert.deepEqual(await current.launcher.port.place(vmId), { kvmPit });
      const before = await current.launcher.port.inspect(vmId);
      assert.ok(before.noNewPrivileges);
      const log = await current.launcher.port.connect(vmId, "log");
      const cut = once(log.resume(), "close");
      await restart();
      await cut;
      assert.deepEqual(await current.launcher.port.list(), [{ vmId, slot: 0, state: "running" }]);
      assert.deepEqual(await current.launcher.port.inspect(vmId), before);
      assert.match(await ask(current.launcher, vmId, "GET", "/"), /^200/);
      assert.deepEqual(await current.launcher.port.place(vmId), { kvmPit });
      await current.launcher.port.remove(vmId);
      assert.deepEqual(await current.launcher.port.list(), []);
    }));

  test("carries a saved state out and in over its socket, and another one takes away what it left", () =>
    withLauncher(async (current, restart, runDir) => {
      const vmId = "3a".repeat(16);
      const { port } = current.launcher;
      const files = () => readdirSync(`${runDir}/jails/${vmId}/saved`);
      const out = async (channel: "state" | "memory") =>
        await buffer(await current.launcher.port.connect(vmId, channel));
      const create = async () =>
        assert.match(await ask(current.launcher, vmId, "PUT", "/snapshot/create", snapshotCreation), /^204/);
      await port.prepare({ vmId, slot: 0, image: "base", overlayMib: 32, diskKey: testDiskKey });
      await port.start(start(vmId, 0));
      await ask(current.launcher, vmId, "PUT", "/actions");
      await port.place(vmId);
      assert.deepEqual(await port.makeRoom(vmId), { memoryMib: 64 });
      await create();
      const [state, memory] = [await out("state"), await out("memory")];
      assert.equal(memory.length, 64 * 1024 * 1024);
      await port.stop(vmId);
      memory.fill("another memory", 12_345_678);
      const { origin } = await port.startWaiting({ ...start(vmId, 0), generation: 2 });
      assert.equal(origin, "state");
      const { signal } = new AbortController();
      await port.put(vmId, "incoming", Readable.from([Buffer.from(state)]), signal);
      await assert.rejects(port.put(vmId, "incomingMemory", Readable.from([state]), signal), { reason: "UNAVAILABLE" });
      await port.put(vmId, "incomingMemory", inPieces(memory), signal);
      assert.match(await ask(current.launcher, vmId, "PUT", "/snapshot/load", snapshotLoad), /^204/);
      await port.place(vmId);
      await port.makeRoom(vmId);
      await restart();
      assert.deepEqual(files().sort(), ["memory", "state"]);
      await current.launcher.port.clearRoom(vmId);
      assert.deepEqual(files(), []);
      await current.launcher.port.makeRoom(vmId);
      await create();
      assert.ok((await out("state")).equals(state));
      assert.ok((await out("memory")).equals(memory));
      await current.launcher.port.remove(vmId);
    }));

  test("killed in the middle of a start, it leaves nothing that the next one cannot remove", () =>
    withLauncher(async (current, restart, runDir) => {
      const ids = ["2a", "2b", "2c"].map((pair) => pair.repeat(16));
      for (const [slot, vmId] of ids.entries()) {
        await current.launcher.port.prepare({ vmId, slot, image: "base", overlayMib: 32, diskKey: testDiskKey });
        const starting = current.launcher.port.start(start(vmId, slot)).catch(() => undefined);
        // Three depths: the identity drive is written; the jailer has begun; the jail is there.
        const reached = [
          `${runDir}/jails/${vmId}/identity.img`,
          `${runDir}/jails/${vmId}/firecracker`,
          rootFile(runDir, vmId),
        ][slot];
        await waitFor("the start", async () => existsSync(reached ?? "") || undefined, {
          timeoutMs: 5_000,
          intervalMs: 1,
        });
        await restart();
        await starting;
      }
      assert.deepEqual((await current.launcher.port.list()).map(({ vmId }) => vmId).sort(), ids);
      for (const vmId of ids) await current.launcher.port.remove(vmId);
      assert.deepEqual(await current.launcher.port.list(), []);
      assert.deepEqual(readdirSync(`${runDir}/jails`), []);
      assert.ok(!readFileSync("/proc/self/mountinfo", "utf8").includes(`${runDir}/jails`));
    }));
});

const rootFile = (runDir: string, vmId: string) => `${runDir}/jails/${vmId}/firecracker/${vmId}/root/firecracker`;
