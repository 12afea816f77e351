import { chmodSync, mkdirSync } from "node:fs";
import { loadConfig } from "@lobsterd/chassis/config.ts";
import { runService } from "@lobsterd/chassis/lifecycle.ts";
import { createLogger } from "@lobsterd/chassis/logger.ts";
import { type Artifacts, openArtifacts } from "./artifacts/artifacts.ts";
import { openBootTurn } from "./boot-turn.ts";
import { VmCgroups } from "./cgroup.ts";
import { openChannels } from "./channels.ts";
import { type LauncherConfig, launcherConfigSchema } from "./config.ts";
import { requireRootOnly } from "./files.ts";
import { verifyByManifest } from "./firecracker/artifacts.ts";
import { openFirecrackerJailer } from "./firecracker/jailer.ts";
import type { LauncherHost } from "./host.ts";
import type { Jailer } from "./jailer.ts";
import { closeInheritedDescriptors } from "./processes.ts";
import { openQemuJailer } from "./qemu/jailer.ts";
import { serve } from "./server.ts";
import { rememberNamespaces } from "./start.ts";
import { launcherVerbs } from "./verbs.ts";

/** From the first API channel to `place`: configuring a VMM, loading a snapshot and starting its guest. */
const bootWithinMs = 15_000;

/** Makes the launcher's directories and cgroups and reads what it needs to know of the host. Throws HOST_UNSAFE. */
export async function openHost(config: LauncherConfig): Promise<LauncherHost> {
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
    namespaces: new Map(),
  };
  rememberNamespaces(host);
  return host;
}

function openJailer(config: LauncherConfig, cgroups: VmCgroups, artifacts: Artifacts): Promise<Jailer> {
  const { vmm } = config;
  if (vmm.kind === "qemu") return openQemuJailer(config, vmm, artifacts);
  return openFirecrackerJailer(config, vmm, {
    verify: verifyByManifest(config.imagesDir),
    cgroupVersion: cgroups.version,
  });
}

if (import.meta.main) {
  runService(async (scope) => {
    const config = loadConfig(launcherConfigSchema);
    process.umask(0o077);
    const logger = createLogger({ service: "vm-launcher", level: config.logLevel });
    scope.useLogger(logger);
    const host = await openHost(config);
    const server = await serve(config.socketPath, config.socketGroupId, launcherVerbs(host), logger);
    // Guests stay: nothing here stops them.
    scope.onClose(() => server.close());
    void host.artifacts.copyInstalled((image, error) => logger.error({ image, err: error }, "image refused"));
    logger.info({ vmm: host.jailer.description, cgroup: host.cgroups.version }, "launcher ready");
  });
}
