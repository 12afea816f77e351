import { type Execution, executionArguments, kernelArguments } from "../choice/accelerator.ts";
import { inheritedDescriptor } from "../jail-script.ts";

/** What the command line of one VMM depends on. Paths are the jail's own, so no host path and no tenant text is in it. */
export interface QemuSpec extends Execution {
  readonly vmId: string;
  readonly vcpuCount: number;
  readonly memoryMib: number;
  /** Whether it boots, waits for the VM's state on a socket, or has a template on its descriptor 4. */
  readonly source: "boot" | "incoming" | "template";
}

export const diskBytesPerSecond = 52_428_800;
export const diskOperationsPerSecond = 5_000;
/** Sockets in the jail's /run: the monitor, the state into a new VMM, and the state out of one, on which the launcher listens. */
export const socketNames = { monitor: "qmp.sock", incoming: "incoming.sock", state: "state.sock" } as const;
/** A template is read from a descriptor: the VMM has no path to one, and closes it when it has taken it in. */
const incomingUris = { incoming: `unix:/run/${socketNames.incoming}`, template: `fd:${inheritedDescriptor}` } as const;
/** Where the VMM is inside its jail. */
export const vmmPath = "/usr/bin/qemu-system-x86_64";
const guestMac = "06:00:0a:4d:00:02";

/**
 * The complete command line. The VMM starts with its CPUs stopped (`-S`): the launcher reads the jail back first and only then
 * lets guest code run. One throttle group over all drives, so that several drives do not add up to several limits. The drives' order
 * is their name in the guest.
 */
export function qemuCommand(spec: QemuSpec): string[] {
  const drive = (name: string, file: string, readOnly: boolean) => [
    "-blockdev",
    `driver=throttle,throttle-group=disk,node-name=${name},read-only=${readOnly ? "on" : "off"},file.driver=raw,` +
      `file.read-only=${readOnly ? "on" : "off"},file.file.driver=file,file.file.filename=${file}`,
    "-device",
    `virtio-blk-device,drive=${name}`,
  ];
  return [
    vmmPath,
    "-sandbox",
    "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
    ...["-name", spec.vmId, "-S", "-L", "/usr/share/qemu"],
    ...executionArguments(spec),
    ...["-smp", String(spec.vcpuCount), "-m", String(spec.memoryMib)],
    ...["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "none", "-monitor", "none"],
    ...["-kernel", "/image/vmlinux", "-initrd", "/image/initrd.cpio"],
    ...["-append", kernelArguments(spec)],
    "-object",
    `throttle-group,id=disk,x-bps-total=${diskBytesPerSecond},x-bps-total-max=${diskBytesPerSecond},x-bps-total-max-length=1,` +
      `x-iops-total=${diskOperationsPerSecond},x-iops-total-max=${diskOperationsPerSecond},x-iops-total-max-length=1`,
    ...drive("root", "/image/rootfs.erofs", true),
    ...drive("overlay", "/overlay.ext4", false),
    ...drive("identity", "/identity.img", true),
    ...["-netdev", "tap,id=net0,ifname=tap0,script=no,downscript=no"],
    ...["-device", `virtio-net-device,netdev=net0,mac=${guestMac}`],
    ...["-object", "rng-random,id=rng0,filename=/dev/urandom", "-device", "virtio-rng-device,rng=rng0"],
    ...["-qmp", `unix:/run/${socketNames.monitor},server=on,wait=off`],
    ...(spec.source === "boot" ? [] : ["-incoming", incomingUris[spec.source]]),
    // The start-up monitor: an inherited socket, so that the launcher never looks a path up that the VMM could have replaced.
    ...["-chardev", "socket,id=boot,fd=3", "-mon", "chardev=boot,mode=control"],
  ];
}

/**
 * Host TSC frequency in kHz out of /proc/cpuinfo. Where the frequency scales this is only near it, and the guest's clock runs off by
 * that ratio: configure `tscKhz` there. Throws when there is no such line.
 */
export function tscKhzFromCpuinfo(cpuinfo: string): number {
  const mhz = Number(/^cpu MHz\s*:\s*([0-9.]+)$/m.exec(cpuinfo)?.[1]);
  if (!Number.isFinite(mhz)) throw new Error("cpuinfo names no frequency: set tscKhz");
  return Math.round(mhz * 1000);
}
