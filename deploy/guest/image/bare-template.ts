import { mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { waitingDrive } from "@lobsterd/vm/launcher/files.ts";
import { z } from "zod";
import { type BareBootOptions, type BareGuest, startBareGuest } from "./bare-boot.ts";
import { goOn, loadingArguments, monitorArguments, saveState, until, withMonitor } from "./bare-monitor.ts";
import { writeCpio } from "./cpio.ts";

const drives = z.array(z.looseObject({ stats: z.looseObject({ flush_operations: z.int() }) }));

/**
 * Boots a guest whose drive tells it to wait, and saves it to `state` when it does: what the launcher does to the first guest of a size, without its
 * jail. Nothing of the guest is left.
 */
export async function saveBareTemplate(options: BareBootOptions, state: string): Promise<void> {
  const guest = await startBareGuest({
    ...options,
    identityDrive: waitingDrive,
    extraArguments: [...monitorArguments, ...(options.extraArguments ?? [])],
  });
  try {
    await withMonitor(guest, async (monitor) => {
      // Its disk is the only one that it may flush.
      await until(async () =>
        (await monitor.execute("query-blockstats", drives)).some(({ stats }) => stats.flush_operations > 0),
      );
      await saveState(monitor, state);
    });
  } finally {
    await guest.stop();
  }
}

/** A guest of its own, with an identity, network and disk of its own, that goes on where the template waits. */
export async function startFromBareTemplate(options: BareBootOptions, state: string): Promise<BareGuest> {
  const guest = await startBareGuest({
    ...options,
    extraArguments: [...loadingArguments(state), ...(options.extraArguments ?? [])],
  });
  try {
    await withMonitor(guest, goOn);
    return guest;
  } catch (error) {
    await guest.stop();
    throw error;
  }
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
