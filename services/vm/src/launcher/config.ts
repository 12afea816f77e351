import { z } from "zod";

const path = z.string().startsWith("/").max(200);

/** Configuration of the launcher. Everything that its caller may not choose is here. */
export const launcherConfigSchema = z.strictObject({
  instance: z
    .string()
    .regex(/^[a-z][a-z0-9-]{0,30}$/)
    .describe("name of the stack this launcher belongs to"),
  runDir: path.describe("tmpfs of the instance: netns/slot-<slot> is read, jails/<vmId> is written"),
  stateDir: path.describe("durable directory of the instance: vms/<vmId> and vmm/<digest> are written"),
  imagesDir: path.describe("installed guest images, <image>/{vmlinux,initrd.cpio,rootfs.erofs}"),
  uidBase: z.int().min(100_000).max(4_000_000_000).describe("jail uid and gid of a slot are uidBase + slot"),
  slotCount: z.int().min(1).max(2_048).describe("slots 0 to slotCount - 1 exist"),
  cgroupParent: z
    .string()
    .regex(/^[a-z][a-z0-9-]{0,62}(\.[a-z]{1,16})?(\/[a-z][a-z0-9-]{0,62}(\.[a-z]{1,16})?){0,3}$/)
    .max(160)
    .describe("cgroup above the VMs' cgroups, in every hierarchy: lobsterd-main, or what systemd delegated"),
  cgroupRoot: path.default("/sys/fs/cgroup").describe("where cgroup v1 controllers or the v2 hierarchy are mounted"),
  socketPath: path.max(107).describe("the launcher's socket, 0660 in a directory 0750"),
  socketGroupId: z.int().min(0).describe("group that may connect"),
  translationCacheMib: z.int().min(16).max(1024).default(128).describe("code cache of QEMU under TCG, per VM"),
  tscKhz: z
    .int()
    .min(100_000)
    .max(10_000_000)
    .optional()
    .describe("host TSC frequency, where cpuinfo does not tell it"),
  vmm: z
    .strictObject({
      kind: z
        .enum(["auto", "firecracker", "qemu"])
        .default("auto")
        .describe("auto takes Firecracker when it is installed, verified and runs a guest; else QEMU"),
      accelerator: z
        .enum(["auto", "kvm", "tcg"])
        .default("auto")
        .describe(
          "of QEMU: auto takes KVM when a guest runs under it within 5 s, asked once a boot; else tcg (emulation)",
        ),
      firecrackerDir: path
        .default("/usr/local/lib/lobsterd/firecracker")
        .describe("firecracker and jailer, as `make firecracker` installs them"),
      binaryPath: path.default("/usr/bin/qemu-system-x86_64"),
      modulePaths: z.array(path).max(16).default(["/usr/lib/x86_64-linux-gnu/qemu/accel-tcg-x86_64.so"]),
      firmwareDir: path.default("/usr/share/qemu"),
    })
    .prefault({})
    .describe(
      "what runs the microVMs: Firecracker in production, QEMU where KVM cannot run guests; the files are copied",
    ),
  templates: z
    .strictObject({
      mode: z.enum(["on", "off"]).default("on").describe("off: every guest boots its kernel"),
      maxCount: z.int().min(1).max(64).default(4).describe("templates kept, one for each image and size in use"),
      maxMib: z.int().min(16).max(1_048_576).default(1_024).describe("disk that they may take together"),
    })
    .prefault({})
    .describe(
      "guests saved before they have an identity, from which others of the same image and size start (ADR 0044)",
    ),
  logLevel: z.enum(["debug", "info", "warn", "error"]).default("info").describe("least severe line to print"),
});

export type LauncherConfig = Readonly<z.infer<typeof launcherConfigSchema>>;

/** Where everything of one VM is. Derived from the vmId alone: no caller names a path. */
export function vmPaths(config: LauncherConfig, vmId: string) {
  const disk = `${config.stateDir}/vms/${vmId}`;
  const jail = `${config.runDir}/jails/${vmId}`;
  return {
    disk,
    overlay: `${disk}/overlay.ext4`,
    /** A copy on its way out, without a name as soon as it is whole. */
    overlayCopy: `${disk}/copy.ext4`,
    /** What is to take the overlay's place; the jail uid's once it is whole. */
    nextOverlay: `${disk}/next-overlay.ext4`,
    record: `${disk}/record.json`,
    limits: `${disk}/limits.json`,
    /** Directory of the VM's own copies of kernel and root file system. */
    image: `${disk}/image`,
    jail,
    identity: `${jail}/identity.img`,
    /** Under Firecracker: the directory of a saved state's two files, mounted into the jail. */
    saved: `${jail}/saved`,
  };
}

export type VmPaths = ReturnType<typeof vmPaths>;
