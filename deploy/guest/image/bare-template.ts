import { once } from "node:events";
import { mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { waitingDrive } from "@lobsterd/vm/launcher/files.ts";
import { type Monitor, openMonitor } from "@lobsterd/vm/vmm/qemu/monitor.ts";
import { z } from "zod";
import { type BareBootOptions, type BareGuest, startBareGuest } from "./bare-boot.ts";
import { writeCpio } from "./cpio.ts";

const monitorArguments = ["-qmp", "unix:{directory}/monitor,server=on,wait=off"];
const waitsWithinMs = 120_000;
const unlimited = { "max-bandwidth": 64 * 1024 ** 3 };
const anything = z.unknown();
const drives = z.array(z.looseObject({ stats: z.looseObject({ flush_operations: z.int() }) }));
const status = z.looseObject({ status: z.string().optional() });

/**
 * Boots a guest whose drive tells it to wait, and saves it to `state` when it does: what the launcher does to the first guest of a size, without its
 * jail. Nothing of the guest is left.
 */
export async function saveBareTemplate(options: BareBootOptions, state: string): Promise<void> {
  const guest = await startBareGuest({
    ...options,
    identityDrive: waitingDrive,
    extraArguments: monitorArguments,
  });
  try {
    await withMonitor(guest, async (monitor) => {
      // Its disk is the only one that it may flush.
      await until(async () =>
        (await monitor.execute("query-blockstats", drives)).some(({ stats }) => stats.flush_operations > 0),
      );
      await monitor.execute("stop", anything);
      await monitor.execute("migrate-set-parameters", anything, unlimited);
      await monitor.execute("migrate", anything, { uri: `exec:cat > ${state}` });
      await until(async () => (await monitor.execute("query-migrate", status)).status === "completed");
    });
  } finally {
    await guest.stop();
  }
}

/** A guest of its own, with an identity, network and disk of its own, that goes on where the template waits. */
export async function startFromBareTemplate(options: BareBootOptions, state: string): Promise<BareGuest> {
  const loading = [...monitorArguments, "-incoming", `exec:cat ${state}`, "-S"];
  const guest = await startBareGuest({ ...options, extraArguments: loading });
  try {
    await withMonitor(guest, async (monitor) => {
      await until(async () => (await monitor.execute("query-status", status)).status === "paused");
      await monitor.execute("cont", anything);
    });
    return guest;
  } catch (error) {
    await guest.stop();
    throw error;
  }
}

async function withMonitor<T>(guest: BareGuest, work: (monitor: Monitor) => Promise<T>): Promise<T> {
  const path = join(guest.directory, "monitor");
  for (const deadline = performance.now() + 10_000; ; await delay(5)) {
    const socket = connect(path);
    try {
      await once(socket, "connect");
    } catch (error) {
      if (performance.now() > deadline) throw error;
      continue;
    }
    const monitor = await openMonitor(socket);
    try {
      return await work(monitor);
    } finally {
      monitor.close();
    }
  }
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  for (const deadline = performance.now() + waitsWithinMs; !(await isSo()); await delay(10))
    if (performance.now() > deadline) throw new Error("the guest or QEMU did not come so far");
}

/** Makes `target` an image like `image` with another init, behind the first one in the initramfs: the kernel takes the later file of a name. */
export async function copyImageWithInit(image: string, target: string, init: string): Promise<void> {
  await mkdir(target, { recursive: true });
  for (const name of ["vmlinux", "rootfs.erofs"]) await symlink(join(image, name), join(target, name));
  const initrd = await readFile(join(image, "initrd.cpio"));
  const padding = Buffer.alloc((512 - (initrd.length % 512)) % 512);
  const later = writeCpio([{ kind: "file", path: "init", mode: 0o755, content: Buffer.from(init) }]);
  await writeFile(join(target, "initrd.cpio"), Buffer.concat([initrd, padding, later]));
}
