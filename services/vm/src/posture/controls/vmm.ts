import { type Control, type Finding, failed, notApplicable, pass, unknown, type VmmFacts } from "../control.ts";
import { compareReleases, releaseOf } from "../known-versions.ts";
import { readKernelRelease } from "./kernel.ts";

/** QEMU is for machines where nothing else runs: its device model is many times Firecracker's, and emulation has no KVM to hold a guest. */
export const vmmIsBoundary: Control = {
  id: "VMM-01",
  required: true,
  requirement: "the VMM is one that may stand between hostile tenants: Firecracker under its jailer",
  remedy: "install the verified firecracker and jailer binaries on a host with KVM",
  check: async ({ vmm, inService }) => {
    if (vmm === undefined) {
      return inService
        ? unknown("the launcher does not answer")
        : notApplicable("no running stack was asked; CheckHost judges the VMM in use");
    }
    const measured = `${vmm.vmm} ${vmm.version} under ${vmm.accelerator}`;
    return vmm.productionBoundary ? pass(measured) : failed(`${measured} is no production boundary`);
  },
};

/** CPU templates hide features for migration; they are no security control, and lobsterd sets none. */
export const cpuTemplateSafe: Control = {
  id: "FC-17",
  required: false,
  requirement:
    "no CPU template, which on hosts from 6.13 on takes mitigations away from guests under Firecracker up to 1.16.1",
  remedy: "configure no CPU template",
  check: async ({ vmm, files }) => {
    if (vmm !== undefined && vmm.vmm !== "firecracker") return notApplicable(`${vmm.vmm} has no CPU templates`);
    const kernel = await readKernelRelease(files);
    if (!kernel.ok) return unknown(kernel.why);
    return judgeCpuTemplate({ kernelRelease: kernel.value, vmm, template: templateInUse });
  },
};

/** The Firecracker adapter has no way to set one. */
const templateInUse = "none";

export interface CpuTemplateCase {
  readonly kernelRelease: string;
  readonly vmm: Pick<VmmFacts, "version"> | undefined;
  readonly template: string;
}

/** Whether a template may be used with a host kernel and a Firecracker version. */
export function judgeCpuTemplate({ kernelRelease, vmm, template }: CpuTemplateCase): Finding {
  if (template === "none") return pass("no template");
  const measured = `template ${template} on kernel ${kernelRelease}, Firecracker ${vmm?.version ?? "unknown"}`;
  if (compareReleases(kernelRelease, "6.13.0") < 0) return pass(measured);
  if (vmm === undefined || releaseOf(vmm.version) === undefined) return unknown(measured);
  return compareReleases(vmm.version, "1.16.1") > 0 ? pass(measured) : failed(measured);
}
