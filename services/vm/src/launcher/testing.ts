import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type LauncherConfig, launcherConfigSchema } from "./config.ts";

/** A host of the launcher's own for a test: directories, tmpfs, network namespaces and cgroups that no other test shares. */
export interface LauncherTestHost {
  readonly config: LauncherConfig;
  /** Puts an image in place whose guest does nothing but halt, so that starting it costs no processor time. */
  installHaltingImage(name: string): void;
  /** Copies an image that the image builder made. */
  installImage(name: string, from: string): void;
  /** Makes the slot's network namespace with its tap, as the network service does. `owner` is the slot whose VM may open the tap. */
  addSlot(slot: number, owner?: number): void;
  /** Ends every process in the test's cgroups and removes everything that it made. */
  close(): void;
}

let hosts = 0;

/** `installFirecracker` installs `firecracker` and `jailer` in the configuration's `firecrackerDir`; without it the VMM is QEMU, emulated. */
export function launcherTestHost(installFirecracker?: (directory: string) => void): LauncherTestHost {
  const name = `lobsterd-launcher-test-${process.pid}${hosts === 0 ? "" : `-${hosts}`}`;
  hosts += 1;
  const runDir = `/run/${name}`;
  const stateDir = `/var/lib/${name}`;
  for (const directory of [runDir, stateDir]) mkdirSync(directory, { mode: 0o755 });
  // As the instance's own: a jail needs devices and programs where the host must not have them.
  sh(["mount", "-t", "tmpfs", "-o", "mode=0755,size=256m,nosuid,nodev,noexec", name, runDir]);
  sh(["mount", "--make-private", runDir]);
  for (const directory of [`${runDir}/netns`, `${stateDir}/images`]) mkdirSync(directory, { mode: 0o755 });
  const firecrackerDir = `${stateDir}/programs`;
  installFirecracker?.(firecrackerDir);
  const config = launcherConfigSchema.parse({
    instance: "test",
    runDir,
    stateDir,
    imagesDir: `${stateDir}/images`,
    uidBase: 910_000_000 + (process.pid % 10_000) * 100,
    slotCount: 8,
    cgroupParent: name,
    socketPath: `${runDir}/vm-launcher/launcher.sock`,
    socketGroupId: 0,
    templates: { mode: "off" },
    vmm: { kind: installFirecracker === undefined ? "qemu" : "firecracker", accelerator: "tcg", firecrackerDir },
  });
  const slots = new Set<number>();
  return {
    config,
    installHaltingImage: (image) => writeHaltingImage(`${stateDir}/images/${image}`),
    installImage(image, from) {
      cpSync(from, `${stateDir}/images/${image}`, { recursive: true });
      chmodSync(`${stateDir}/images/${image}`, 0o755);
    },
    addSlot(slot, owner = slot) {
      const path = `${runDir}/netns/slot-${slot}`;
      const uid = String(config.uidBase + owner);
      writeFileSync(path, "");
      sh(["unshare", `--net=${path}`, "true"]);
      slots.add(slot);
      const ip = (...args: string[]) => sh(["nsenter", `--net=${path}`, "ip", ...args]);
      ip("tuntap", "add", "dev", "tap0", "mode", "tap", "user", uid, "group", uid);
      ip("address", "add", "10.77.0.1/30", "dev", "tap0");
      ip("link", "set", "tap0", "up");
    },
    close() {
      removeCgroups(config);
      for (const slot of slots) sh(["umount", `${runDir}/netns/slot-${slot}`]);
      sh(["umount", runDir]);
      for (const directory of [runDir, stateDir]) rmSync(directory, { recursive: true });
    },
  };
}

/** Kills what a failed test left, by its own cgroup, and removes the cgroups. */
function removeCgroups(config: LauncherConfig): void {
  for (const controller of ["", "cpu", "memory", "pids", "freezer", "blkio"]) {
    const parent = `${config.cgroupRoot}/${controller}/${config.cgroupParent}`;
    if (!existsSync(parent)) continue;
    sh(["/bin/sh", "-c", killAndRemove, "sh", parent]);
  }
}

const killAndRemove = `
for vm in "$1"/*/; do
  [ -d "$vm" ] || continue
  tries=0
  while ! rmdir "$vm" 2>/dev/null && [ $tries -lt 200 ]; do
    while read -r pid; do kill -9 "$pid" 2>/dev/null || :; done <"$vm/cgroup.procs"
    tries=$((tries + 1)); sleep 0.02
  done
done
rmdir "$1"`;

function writeHaltingImage(directory: string): void {
  mkdirSync(directory, { recursive: true });
  chmodSync(directory, 0o755);
  const files = { vmlinux: haltingKernel(), "initrd.cpio": Buffer.alloc(512), "rootfs.erofs": Buffer.alloc(4096) };
  const sha256 = Object.fromEntries(
    Object.entries(files).map(([name, content]) => [name, createHash("sha256").update(content).digest("hex")]),
  );
  for (const [name, content] of Object.entries({ ...files, "manifest.json": JSON.stringify({ sha256 }) })) {
    writeFileSync(`${directory}/${name}`, content);
    chmodSync(`${directory}/${name}`, 0o444);
  }
}

/** Where the halting guest keeps what the processor's time stamp counter was when it booted: 8 bytes that no other boot has. */
export const bootMarkAddress = 0x20_0000;

/**
 * An ELF file that the VMM enters by its PVH note (Xen note type 18). It writes its boot mark and halts: cli, rdtsc, two moves, hlt, jump
 * back to hlt.
 */
function haltingKernel(): Buffer {
  const entry = 0x10_0000;
  const file = Buffer.alloc(8192);
  file.write("\x7fELF\x02\x01\x01", 0, "latin1");
  file.writeUInt16LE(2, 16); // executable
  file.writeUInt16LE(62, 18); // x86-64
  file.writeUInt32LE(1, 20);
  file.writeBigUInt64LE(BigInt(entry), 24);
  file.writeBigUInt64LE(64n, 32); // program headers follow
  for (const [offset, value] of [
    [52, 64],
    [54, 56],
    [56, 2],
    [58, 64],
  ] as const)
    file.writeUInt16LE(value, offset);
  const segment = (at: number, type: number, offset: number, address: number, size: number, align: number) => {
    file.writeUInt32LE(type, at);
    file.writeUInt32LE(5, at + 4);
    for (const [index, value] of [offset, address, address, size, size, align].entries()) {
      file.writeBigUInt64LE(BigInt(value), at + 8 + index * 8);
    }
  };
  segment(64, 1, 4096, entry, 32, 4096);
  segment(120, 4, 1024, 0, 24, 4);
  file.writeUInt32LE(4, 1024);
  file.writeUInt32LE(8, 1028);
  file.writeUInt32LE(18, 1032);
  file.write("Xen\0", 1036, "latin1");
  file.writeBigUInt64LE(BigInt(entry), 1040);
  const moves = [0xa3, 0, 0, 0x20, 0, 0x89, 0x15, 4, 0, 0x20, 0]; // eax and edx, to the mark
  file.set([0xfa, 0x0f, 0x31, ...moves, 0xf4, 0xeb, 0xfd], 4096);
  return file;
}

function sh(argv: readonly [string, ...string[]]): string {
  const [program, ...rest] = argv;
  return execFileSync(program, rest, { encoding: "utf8", timeout: 20_000 });
}

const stubsDir = `${import.meta.dirname}/firecracker`;

/** Installs the stub VMM and the stub jailer in a directory that is root's alone. `edit` changes the jailer's text. */
export function installStubs(directory: string, edit: (jailer: string) => string = (text) => text): void {
  mkdirSync(directory, { recursive: true, mode: 0o755 });
  const install = (name: string, text: string) => {
    writeFileSync(`${directory}/${name}`, text);
    chmodSync(`${directory}/${name}`, 0o755);
  };
  install("firecracker", readFileSync(`${stubsDir}/stub-firecracker.pl`, "utf8"));
  install("jailer", edit(readFileSync(`${stubsDir}/stub-jailer.pl`, "utf8")));
}

/** Mount points as the machine's own mount table shows them now, without those of other stacks and tests that come and go meanwhile. */
export function hostMounts(): string[] {
  const others = new RegExp(`^/run/lobsterd(?!-launcher-test-${process.pid}(-|/|$))`);
  return readFileSync("/proc/self/mountinfo", "utf8")
    .trim()
    .split("\n")
    .map((line) => line.split(" ")[4] ?? "")
    .filter((mountPoint) => !others.test(mountPoint));
}
