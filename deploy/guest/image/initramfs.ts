import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { type CpioEntry, writeCpio } from "./cpio.ts";
import { mapDiskProgram } from "./map-disk.ts";
import { reseedKernelProgram } from "./reseed-kernel.ts";

/** Loaded in this order: a module that comes before what it uses fails with "Unknown symbol". */
export const kernelModules = [
  "drivers/virtio/virtio_ring.ko",
  "drivers/virtio/virtio.ko",
  "drivers/virtio/virtio_mmio.ko",
  "drivers/block/virtio_blk.ko",
  "net/core/failover.ko",
  "drivers/net/net_failover.ko",
  "drivers/net/virtio_net.ko",
  "lib/libcrc32c.ko",
  "fs/erofs/erofs.ko",
  "fs/overlayfs/overlay.ko",
  // The cipher of the tenant's disk by the processor's own instructions: twice as fast as the generic one even where they are emulated, and its time tells nothing of the key.
  "crypto/cryptd.ko",
  "crypto/crypto_simd.ko",
  "arch/x86/crypto/aesni-intel.ko",
  "drivers/md/dm-mod.ko",
  "drivers/md/dm-crypt.ko",
] as const;

const initPath = new URL("./init.sh", import.meta.url).pathname;

/**
 * The initramfs: busybox, the programs that reseed the kernel and open the disk, the modules and init. It is freed at switch_root, so its busybox (which holds wget, nc and telnet
 * whether linked or not) is never within a workload's reach.
 */
export async function buildInitramfs(busyboxPath: string, modulesRoot: string): Promise<Buffer> {
  const entries: CpioEntry[] = ["bin", "dev", "modules", "new", "proc", "ro", "rw", "sys"].map((path) => ({
    kind: "directory",
    path,
    mode: 0o755,
  }));
  entries.push({ kind: "file", path: "bin/busybox", mode: 0o755, content: await readFile(busyboxPath) });
  entries.push({ kind: "symlink", path: "bin/sh", target: "busybox" });
  entries.push({ kind: "file", path: "bin/map-disk", mode: 0o755, content: mapDiskProgram() });
  entries.push({ kind: "file", path: "bin/reseed-kernel", mode: 0o755, content: reseedKernelProgram() });
  entries.push({ kind: "file", path: "init", mode: 0o755, content: await readFile(initPath) });
  // The kernel opens /dev/console before init can mount devtmpfs.
  entries.push({ kind: "device", path: "dev/console", mode: 0o600, major: 5, minor: 1 });
  for (const [index, module] of kernelModules.entries()) {
    const name = `modules/${String(index).padStart(2, "0")}-${basename(module)}`;
    entries.push({
      kind: "file",
      path: name,
      mode: 0o644,
      content: await readFile(join(modulesRoot, "kernel", module)),
    });
  }
  return writeCpio(entries);
}
