import { vmmPath } from "../qemu/command.ts";
import { type Execution, executionArguments, kernelArguments } from "./accelerator.ts";
import { probeGuestMemoryMib } from "./probe.ts";
import { debugExitDevice } from "./probe-guest.ts";

/** QEMU as guests get it, with the probe's guest and the device by which that says that it lives. Paths are those of the probe's jail. */
export function qemuProbeCommand(execution: Execution): string[] {
  return [
    vmmPath,
    ...["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"],
    ...["-L", "/usr/share/qemu", ...executionArguments(execution)],
    ...["-smp", "1", "-m", String(probeGuestMemoryMib)],
    ...["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "none", "-monitor", "none"],
    ...["-kernel", "/image/vmlinux", "-initrd", "/files/initrd.cpio", "-append", kernelArguments(execution)],
    ...["-device", debugExitDevice],
  ];
}

/** Firecracker without an API, its guest described in /files/firecracker.json; it prints the guest's console. */
export function firecrackerProbe(): { readonly command: string[]; readonly files: Record<string, string> } {
  const configuration = {
    "boot-source": {
      kernel_image_path: "/image/vmlinux",
      initrd_path: "/files/initrd.cpio",
      boot_args: "console=ttyS0 quiet reboot=k panic=-1 pci=off",
    },
    drives: [],
    "machine-config": { vcpu_count: 1, mem_size_mib: probeGuestMemoryMib, smt: false },
  };
  return {
    command: ["/vmm/firecracker", "--no-api", "--config-file", "/files/firecracker.json"],
    files: { "firecracker.json": JSON.stringify(configuration) },
  };
}
