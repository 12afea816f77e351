import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { z } from "zod";
import { putDiskMapping } from "../../guest/disk-mapping.ts";
import { openVmmByLauncher } from "../../vmm/by-launcher.ts";
import type { VmmPort, VmStart } from "../../vmm/port.ts";
import { openMonitor } from "../../vmm/qemu/monitor.ts";
import { testDiskKey } from "../../vmm/testing-disk-key.ts";
import { newVmId } from "../../vmm/vmm-under-test.ts";
import { identityDriveBytes } from "../protocol.ts";
import { type LauncherTestHost, launcherTestHost } from "../testing.ts";
import { type Launcher, startLauncher, stopLauncher } from "../testing-process.ts";

const image = `${import.meta.dirname}/../../../../../.cache/images/base`;
const manifest = `${image}/manifest.json`;
const canWait = existsSync(manifest) && readFileSync(manifest, "utf8").includes('"template": true');

/** Why these tests cannot run here, or false. */
export const skip =
  process.getuid?.() !== 0 ? "needs root" : canWait ? false : `no guest image that can wait in ${image}`;

/** A guest's init takes it for an identity, and its agent ends of it: long after what is looked at. */
function identityDriveFor(overlayMib: number): Uint8Array {
  const drive = Buffer.alloc(identityDriveBytes);
  drive.write("{}");
  putDiskMapping(drive, testDiskKey, overlayMib);
  return drive;
}

const usualOverlayMib = 64;
const drives = z.array(
  z.looseObject({ "node-name": z.string().optional(), stats: z.looseObject({ wr_operations: z.int() }) }),
);

/** How a start began that went as it was to go. */
export const booted = { origin: "kernel", templateFault: undefined, isTimed: true };
export const warm = { ...booted, origin: "template" };

/** A launcher that keeps two templates, and real guests up to where they have their disk. */
export interface TemplatesUnderTest {
  readonly host: LauncherTestHost;
  readonly port: VmmPort;
  count(): Promise<number>;
  startOf(vmId: string, more?: Partial<VmStart>): VmStart;
  /** The VM mounts its own disk, which no guest does before it has its identity. */
  takesItsDisk(vmId: string): Promise<unknown>;
  withVm<T>(work: (vmId: string) => Promise<T>, overlayMib?: number): Promise<T>;
  /** Starts a VM and removes it. */
  begins(overlayMib?: number): Promise<typeof booted | { readonly templateFault: string | undefined }>;
  /** The launcher's templates: files that have no name any more. */
  files(): readonly string[];
  killLauncher(): Promise<void>;
  startLauncher(): Promise<void>;
  close(): Promise<void>;
}

export async function openTemplatesUnderTest(): Promise<TemplatesUnderTest> {
  const host = launcherTestHost();
  Object.assign(host.config, { templates: { mode: "on", maxCount: 2, maxMib: 1024 } });
  let launcher: Launcher;
  let port: VmmPort;
  const start = async () => {
    launcher = await startLauncher(host);
    port = openVmmByLauncher(launcher.port, { onUnresponsive: () => {}, onEnded: () => {} });
  };
  try {
    host.installImage("base", image);
    host.addSlot(0);
    await start();
  } catch (error) {
    host.close();
    throw error;
  }
  const writes = async (vmId: string) => {
    const monitor = await openMonitor(await launcher.port.connect(vmId, "api"));
    try {
      const stats = await monitor.execute("query-blockstats", drives);
      return stats.find((drive) => drive["node-name"] === "overlay")?.stats.wr_operations || undefined;
    } finally {
      monitor.close();
    }
  };
  const under: TemplatesUnderTest = {
    host,
    get port() {
      return port;
    },
    count: async () => (await port.describe()).templates.count,
    startOf: (vmId, more) => ({
      ...{ vmId, slot: 0, image: "base", vcpuCount: 1, memoryMib: 128, generation: 1 },
      identityDrive: identityDriveFor(usualOverlayMib),
      ...more,
    }),
    takesItsDisk: (vmId) =>
      waitFor("a write to the guest's disk", () => writes(vmId), { timeoutMs: 40_000, intervalMs: 50 }),
    async withVm(work, overlayMib = usualOverlayMib) {
      const vmId = newVmId();
      await port.prepare({ vmId, slot: 0, image: "base", overlayMib, diskKey: testDiskKey });
      try {
        return await work(vmId);
      } finally {
        await port.remove(vmId);
      }
    },
    begins: (overlayMib = usualOverlayMib) =>
      under.withVm(async (vmId) => {
        const { origin, templateFault, templateMs } = await port.start(
          under.startOf(vmId, { identityDrive: identityDriveFor(overlayMib) }),
        );
        await under.takesItsDisk(vmId);
        return { origin, templateFault, isTimed: templateMs > 0 };
      }, overlayMib),
    files() {
      const directory = `/proc/${launcher.process.pid}/fd`;
      const paths = readdirSync(directory).map((name) => `${directory}/${name}`);
      return paths.filter((path) => /\/templates\/\d+ \(deleted\)$/.test(readlinkSync(path)));
    },
    killLauncher: () => stopLauncher(launcher, "SIGKILL"),
    startLauncher: start,
    async close() {
      assert.deepEqual(await port.list(), []);
      await stopLauncher(launcher, "SIGTERM");
      host.close();
    },
  };
  return under;
}
