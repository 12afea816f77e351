import { readFileSync } from "node:fs";
import { release } from "node:os";
import { fail } from "../errors.ts";
import type { SealedMachine } from "../sealing/header.ts";
import type { TenantRecord } from "../store/tenant-record.ts";
import type { Lifecycle } from "./lifecycle.ts";

/** What of this host a saved state is bound to. */
export type HostFacts = Pick<SealedMachine, "cpuModel" | "microcode" | "hostKernel">;

/** Reads `/proc/cpuinfo` and the kernel's release. A line that the machine does not have reads "unknown". */
export function readHostFacts(cpuInfo: string = readFileSync("/proc/cpuinfo", "utf8")): HostFacts {
  const line = (name: string) => printable(new RegExp(`^${name}\\s*: (.*)$`, "m").exec(cpuInfo)?.[1] ?? "unknown");
  return { cpuModel: line("model name"), microcode: line("microcode"), hostKernel: printable(release()) };
}

/** The machine that a tenant's state is saved from and has to find again. Throws UNKNOWN_IMAGE when the image is gone. */
export async function describeMachine(life: Lifecycle, tenant: TenantRecord): Promise<SealedMachine> {
  const { vmm, version, accelerator } = await life.parts.vmm.describe();
  const image = await life.images.find(tenant.image);
  if (image === undefined) throw fail("UNKNOWN_IMAGE", `image ${tenant.image} is not installed on this host`);
  const { vmlinux, "initrd.cpio": initrd, "rootfs.erofs": rootfs } = image.sha256;
  const { vcpuCount, memoryMib } = tenant.resources;
  return {
    ...{ vmm: printable(vmm), vmmVersion: printable(version), accelerator: printable(accelerator) },
    ...life.hostFacts,
    ...{ vcpuCount, memoryMib, image: tenant.image, imageDigests: { vmlinux, initrd, rootfs } },
  };
}

/** Throws MACHINE_DIFFERS, naming what does. */
export function refuseOtherMachine(saved: SealedMachine, here: SealedMachine): void {
  const text = (value: unknown) => JSON.stringify(value);
  const keys = Object.keys(here) as (keyof SealedMachine)[];
  const different = keys.filter((key) => text(saved[key]) !== text(here[key]));
  if (different.length === 0) return;
  throw fail("MACHINE_DIFFERS", `the state was saved on another machine: ${different.join(", ")}`, {
    metadata: { different: different.join(",") },
  });
}

function printable(value: string): string {
  return value.replaceAll(/[^\x20-\x7e]/g, "?").slice(0, 128);
}
