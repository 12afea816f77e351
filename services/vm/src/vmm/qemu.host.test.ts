import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { suite, test } from "node:test";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { putDiskMapping } from "../guest/disk-mapping.ts";
import { identityDriveBytes } from "../launcher/protocol.ts";
import { hostMounts, type LauncherTestHost, launcherTestHost } from "../launcher/testing.ts";
import { type Launcher, startLauncher, stopLauncher } from "../launcher/testing-process.ts";
import { openVmmByLauncher } from "./by-launcher.ts";
import { vmmConformance } from "./conformance.ts";
import type { VmmHost, VmmPort } from "./port.ts";
import { guestBehindMonitor } from "./qemu/testing/guest-behind-monitor.ts";
import { testDiskKey } from "./testing-disk-key.ts";
import { newVmId } from "./vmm-under-test.ts";

const image = `${import.meta.dirname}/../../../../.cache/images/base`;
const root = process.getuid?.() === 0;
const notRoot = root ? false : "needs root";
const noImage = notRoot || (existsSync(`${image}/manifest.json`) ? false : `no guest image in ${image}`);

async function openHost(install: (host: LauncherTestHost) => void) {
  const host = launcherTestHost();
  try {
    install(host);
    for (const slot of [0, 1, 2]) host.addSlot(slot);
    return { host, launcher: await startLauncher(host) };
  } catch (error) {
    host.close();
    throw error;
  }
}

const start = (vmId: string, slot = 0, memoryMib = 64) => ({
  ...{ vmId, slot, image: "base", vcpuCount: 1, memoryMib, generation: 1 },
  identityDrive: new TextEncoder().encode("{}"),
});

const portOf = (launcher: Launcher): VmmPort =>
  openVmmByLauncher(launcher.port, { onUnresponsive: () => {}, onEnded: () => {} });

/** Kills the VMM under test from outside, as a crash would, and waits until nothing is left of it. */
async function endVmm(port: VmmHost, vmId: string): Promise<void> {
  process.kill((await port.inspect(vmId)).pid, "SIGKILL");
  const ended = async () => (await port.list()).some((vm) => vm.vmId === vmId && vm.state === "exited") || undefined;
  await waitFor("the VMM's end", ended, { timeoutMs: 5_000, intervalMs: 5 });
}

/** The VMM is killed before `remove` returns; its entry goes when init has collected it. */
const reaped = (pid: number) =>
  waitFor(`end of ${pid}`, async () => !existsSync(`/proc/${pid}`) || undefined, { timeoutMs: 5_000, intervalMs: 5 });

const sessionOf = (pid: number) => readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.split(" ")[3];

if (root) {
  vmmConformance("QEMU through the launcher", async () => {
    const { host, launcher } = await openHost((fresh) => fresh.installHaltingImage("base"));
    const port = portOf(launcher);
    return {
      port,
      guest: guestBehindMonitor(launcher.port),
      exit: (vmId) => endVmm(port, vmId),
      readIdentityDrive: (vmId) => readFileSync(`${host.config.runDir}/jails/${vmId}/identity.img`),
      close: async () => {
        await stopLauncher(launcher, "SIGTERM");
        host.close();
      },
    };
  });
} else test("VMM port: QEMU through the launcher", { skip: notRoot }, () => {});

suite("the launcher's process", { skip: notRoot }, () => {
  test("with the launcher's capabilities a probe runs, and describe says what came of it", {
    skip: noImage,
  }, async () => {
    const host = launcherTestHost();
    let launcher: Launcher | undefined;
    try {
      host.installImage("base", image);
      const vmm = { ...host.config.vmm, kind: "auto", accelerator: "auto" } as const;
      launcher = await startLauncher({ ...host, config: { ...host.config, vmm } });
      const { accelerator, reason } = await launcher.port.describe();
      const seen =
        accelerator === "kvm"
          ? /QEMU under KVM: the guest's user space answered/
          : /no \/dev\/kvm|gave no sign|no sign of life/;
      assert.match(reason, seen);
    } finally {
      if (launcher !== undefined) await stopLauncher(launcher, "SIGTERM");
      host.close();
    }
  });

  test("a killed launcher leaves its guests running, and the next one manages them", async () => {
    const { host, launcher } = await openHost((fresh) => fresh.installHaltingImage("base"));
    let current = launcher;
    try {
      const vmId = newVmId();
      await current.port.prepare({ vmId, slot: 0, image: "base", overlayMib: 64, diskKey: testDiskKey });
      await current.port.start(start(vmId));
      const before = await current.port.inspect(vmId);
      assert.notEqual(
        sessionOf(before.pid),
        sessionOf(process.pid),
        "a signal to the launcher's group would reach the guest",
      );
      await stopLauncher(current, "SIGKILL");
      await assert.rejects(current.port.list(), { reason: "UNAVAILABLE" });
      assert.ok(existsSync(`/proc/${before.pid}`), "the guest ended with the launcher");
      current = await startLauncher(host);
      assert.deepEqual(await current.port.list(), [{ vmId, slot: 0, state: "running" }]);
      assert.deepEqual(await current.port.inspect(vmId), before);
      await current.port.emptyIdentityDrive(vmId);
      await current.port.remove(vmId);
      assert.deepEqual(await current.port.list(), []);
      await reaped(before.pid);
    } finally {
      await stopLauncher(current, "SIGTERM");
      host.close();
    }
  });

  test("a launcher killed in the middle of a start leaves nothing that the next one cannot remove", async () => {
    const { host, launcher } = await openHost((fresh) => fresh.installHaltingImage("base"));
    let current = launcher;
    try {
      const ids = [newVmId(), newVmId(), newVmId()];
      for (const [slot, vmId] of ids.entries()) {
        await current.port.prepare({ vmId, slot, image: "base", overlayMib: 64, diskKey: testDiskKey });
        const starting = current.port.start(start(vmId, slot)).catch(() => undefined);
        const cgroup = `${host.config.cgroupRoot}/pids/${host.config.cgroupParent}/${vmId}`;
        const joined = async () =>
          (existsSync(cgroup) && readFileSync(`${cgroup}/cgroup.procs`, "utf8") !== "") || undefined;
        if (existsSync(`${host.config.cgroupRoot}/pids`))
          await waitFor("a start", joined, { timeoutMs: 5_000, intervalMs: 1 });
        await stopLauncher(current, "SIGKILL");
        await starting;
        current = await startLauncher(host);
      }
      assert.deepEqual((await current.port.list()).map(({ vmId }) => vmId).sort(), [...ids].sort());
      await Promise.all(ids.map((vmId) => current.port.remove(vmId)));
      assert.deepEqual(await current.port.list(), []);
      assert.deepEqual(readdirSync(`${host.config.runDir}/jails`), []);
      assert.deepEqual(readdirSync(`${host.config.stateDir}/vms`), []);
    } finally {
      await stopLauncher(current, "SIGTERM");
      host.close();
    }
  });

  test("nothing of a VM is in the host's mount table, and nothing of it is left after its removal", async () => {
    const { host, launcher } = await openHost((fresh) => fresh.installHaltingImage("base"));
    const { port } = launcher;
    try {
      const before = hostMounts();
      const vmId = newVmId();
      await port.prepare({ vmId, slot: 0, image: "base", overlayMib: 64, diskKey: testDiskKey });
      await port.start(start(vmId));
      assert.deepEqual(hostMounts(), before);
      const { pid } = await port.inspect(vmId);
      await port.remove(vmId);
      assert.deepEqual(hostMounts(), before);
      await reaped(pid);
      assert.deepEqual(readdirSync(`${host.config.runDir}/jails`), []);
      assert.deepEqual(readdirSync(`${host.config.stateDir}/vms`), []);
    } finally {
      await stopLauncher(launcher, "SIGTERM");
      host.close();
    }
  });
});

suite("a real guest", { skip: noImage }, () => {
  test("boots in the jail, answers on its network, and is gone after removal", async (context) => {
    const { host, launcher } = await openHost((fresh) => fresh.installImage("base", image));
    const { port } = launcher;
    try {
      const vmId = randomBytes(16).toString("hex");
      await port.prepare({ vmId, slot: 0, image: "base", overlayMib: 256, diskKey: testDiskKey });
      const began = performance.now();
      const identityDrive = Buffer.alloc(identityDriveBytes);
      putDiskMapping(identityDrive, testDiskKey, 256);
      const report = await port.start({ ...start(vmId, 0, 256), identityDrive });
      const startedMs = performance.now() - began;
      const { uid } = await port.inspect(vmId);
      assert.equal(uid, host.config.uidBase);
      await guestKernelAnswers(`${host.config.runDir}/netns/slot-0`);
      const answeredMs = performance.now() - began;
      context.diagnostic(JSON.stringify({ startedMs, answeredMs, ...report.stagesMs }));
      await port.remove(vmId);
      assert.deepEqual(await port.list(), []);
    } finally {
      await stopLauncher(launcher, "SIGTERM");
      host.close();
    }
  });
});

/**
 * Waits until the guest's kernel answers a connection to the agent's port, with an accept or a reset: without a valid identity the
 * agent does not serve, but the machine, its disks and its network were brought up by then.
 */
async function guestKernelAnswers(network: string): Promise<void> {
  const probe = `
    const { connect } = require("node:net");
    const end = Date.now() + 40000;
    const attempt = () => {
      const socket = connect({ host: "10.77.0.2", port: 7443, timeout: 300 });
      const again = () => { socket.destroy(); Date.now() > end ? process.exit(1) : setTimeout(attempt, 50); };
      socket.once("connect", () => process.exit(0)).once("timeout", again);
      socket.once("error", (error) => (error.code === "ECONNREFUSED" ? process.exit(0) : again()));
    };
    attempt();`;
  const child = spawn("nsenter", [`--net=${network}`, process.execPath, "-e", probe], { stdio: "ignore" });
  const [code] = await once(child, "exit");
  assert.equal(code, 0, "the guest never answered");
}
