import { lstatSync, readFileSync } from "node:fs";
import { basename } from "node:path";
import type { Artifacts } from "../artifacts/artifacts.ts";
import { installedImages } from "../artifacts/images.ts";
import type { VmCgroups } from "../cgroup.ts";
import type { LauncherConfig } from "../config.ts";
import { LauncherError } from "../protocol.ts";
import { chooseVmm, type VmmChoice } from "./choose.ts";
import { ProbeFailedError, type ProbeRun, type ProbeVerdict, runProbe } from "./probe.ts";
import { firecrackerProbe, qemuProbeCommand } from "./probe-command.ts";
import { rememberedVerdict } from "./verdicts.ts";

/** What the launcher knows of its host when it chooses a VMM. */
export interface ChoosingHost {
  readonly config: LauncherConfig;
  readonly cgroups: VmCgroups;
  readonly artifacts: Artifacts;
  /** The tree of QEMU, which a host that runs Firecracker need not have. */
  readonly vmmTree: () => Promise<string>;
}

/** Chooses this host's VMM: see `chooseVmm`. Throws VmmUnavailableError. */
export function chooseHostVmm(host: ChoosingHost): Promise<VmmChoice> {
  const { config, artifacts } = host;
  return chooseVmm(config.vmm, {
    async firecrackerMissing() {
      try {
        await artifacts.firecracker();
        return undefined;
      } catch (error) {
        if (error instanceof LauncherError) return error.message;
        throw error;
      }
    },
    probe: (vmm) => probeUnderKvm(host, vmm),
  });
}

async function probeUnderKvm(host: ChoosingHost, vmm: "firecracker" | "qemu"): Promise<ProbeVerdict> {
  const { config, cgroups, artifacts } = host;
  if (lstatSync("/dev/kvm", { throwIfNoEntry: false }) === undefined) return { alive: false, detail: "no /dev/kvm" };
  const image = await probeImage(host);
  if (image === undefined) return { alive: false, detail: "no guest image is installed, so there is no kernel to try" };
  const ground = { runDir: config.runDir, cgroups, uid: config.uidBase + config.slotCount };
  const vmmDir = await (vmm === "qemu" ? host.vmmTree() : artifacts.firecracker());
  const question = {
    vmm,
    bootId: readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim(),
    kernelDigest: basename(image),
    vmmDigest: basename(vmmDir),
  };
  const run: ProbeRun =
    vmm === "qemu"
      ? { tree: vmmDir, image, vmmDir, command: qemuProbeCommand(underKvm) }
      : // Its program needs nothing but itself; /usr is there for what builds the jail.
        { tree: "/usr", image, vmmDir, ...firecrackerProbe() };
  try {
    return await rememberedVerdict(`${config.stateDir}/vmm-probes`, question, () => runProbe(ground, run));
  } catch (error) {
    if (error instanceof ProbeFailedError) return { alive: false, detail: `the probe did not start: ${error.message}` };
    throw error;
  }
}

const underKvm = { accelerator: "kvm", translationCacheMib: 0, tscKhz: 0 } as const;

/** The verified copy of the image whose kernel is tried: `base`, or else the first by name. */
async function probeImage({ config, artifacts }: ChoosingHost): Promise<string | undefined> {
  const names = installedImages(config.imagesDir).map(({ sourceDir }) => basename(sourceDir));
  const name = names.includes("base") ? "base" : names[0];
  return name === undefined ? undefined : artifacts.image(name);
}
