import { chmodSync, mkdirSync } from "node:fs";
import { loadConfig } from "@lobsterd/chassis/config.ts";
import { runService } from "@lobsterd/chassis/lifecycle.ts";
import { createLogger } from "@lobsterd/chassis/logger.ts";
import { type Artifacts, openArtifacts } from "./artifacts/artifacts.ts";
import { openBootTurn } from "./boot-turn.ts";
import { VmCgroups } from "./cgroup.ts";
import { openChannels } from "./channels.ts";
import { chooseHostVmm } from "./choice/host-choice.ts";
import { type LauncherConfig, launcherConfigSchema } from "./config.ts";
import { dropCopy } from "./disk.ts";
import { requireRootOnly } from "./files.ts";
import { openFirecrackerJailer } from "./firecracker/jailer.ts";
import type { LauncherHost } from "./host.ts";
import type { Jailer } from "./jailer.ts";
import { closeInheritedDescriptors } from "./processes.ts";
import { openQemuJailer } from "./qemu/jailer.ts";
import { buildVmmTree } from "./qemu/vmm-tree.ts";
import { vmIdsIn } from "./records.ts";
import { serve } from "./server.ts";
import { rememberNamespaces } from "./start.ts";
import { openTemplateStore } from "./templates/template-store.ts";
import { launcherVerbs } from "./verbs.ts";

/** From the first API channel to `place`: configuring a VMM, loading a snapshot and starting its guest. */
const bootWithinMs = 15_000;

export type OpenJailer = (config: LauncherConfig, cgroups: VmCgroups, artifacts: Artifacts) => Promise<Jailer>;

/**
 * Makes the launcher's directories and cgroups, reads what it needs to know of the host and chooses its VMM. Throws HOST_UNSAFE,
 * VmmUnavailableError. Tests open a jailer of their own, whose programs no lock knows.
 */
export async function openHost(
  config: LauncherConfig,
  openJailer: OpenJailer = openChosenJailer,
): Promise<LauncherHost> {
  closeInheritedDescriptors();
  for (const directory of [`${config.runDir}/jails`, `${config.stateDir}/vms`]) {
    mkdirSync(directory, { recursive: true });
    chmodSync(directory, 0o711);
    requireRootOnly(directory);
  }
  requireRootOnly(config.imagesDir);
  const artifacts = openArtifacts(config);
  const cgroups = new VmCgroups(config.cgroupRoot, config.cgroupParent, config.stateDir);
  const host: LauncherHost = {
    config,
    cgroups,
    artifacts,
    jailer: await openJailer(config, cgroups, artifacts),
    openChannel: openChannels(),
    // Its end is seen by whoever waits for it: the VM is listed as exited, its channels close.
    bootTurn: openBootTurn(bootWithinMs, (vmId) => cgroups.kill(vmId)),
    templates: openTemplateStore(config),
    namespaces: new Map(),
  };
  rememberNamespaces(host);
  // Of a launcher that was killed. A next disk may be whole and is left.
  for (const vmId of vmIdsIn(`${config.stateDir}/vms`)) dropCopy(config, vmId);
  return host;
}

/** The VMM that this host gets: see `chooseVmm`. Throws VmmUnavailableError. */
async function openChosenJailer(config: LauncherConfig, cgroups: VmCgroups, artifacts: Artifacts): Promise<Jailer> {
  let tree: Promise<string> | undefined;
  const vmmTree = () => {
    tree ??= buildVmmTree(config, artifacts.digests);
    return tree;
  };
  const choice = await chooseHostVmm({ config, cgroups, artifacts, vmmTree });
  if (choice.vmm === "qemu") return openQemuJailer(config, { artifacts, tree: await vmmTree(), choice });
  return openFirecrackerJailer(config, {
    programsDir: await artifacts.firecracker(),
    reason: choice.reason,
    verify: artifacts.verifyFiles,
    cgroupVersion: cgroups.version,
  });
}

/** The launcher's process, until it is told to end. */
export function runLauncher(openJailer?: OpenJailer): void {
  runService(async (scope) => {
    const config = loadConfig(launcherConfigSchema);
    process.umask(0o077);
    const logger = createLogger({ service: "vm-launcher", level: config.logLevel });
    scope.useLogger(logger);
    const host = await openHost(config, openJailer);
    const server = await serve(config.socketPath, config.socketGroupId, launcherVerbs(host), logger);
    // Guests stay: nothing here stops them.
    scope.onClose(() => server.close());
    void host.artifacts.copyInstalled((image, error) => logger.error({ image, err: error }, "image refused"));
    logger.info({ vmm: host.jailer.description, cgroup: host.cgroups.version }, "launcher ready");
  });
}

if (import.meta.main) runLauncher();
