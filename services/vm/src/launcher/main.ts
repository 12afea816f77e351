import { chmodSync, mkdirSync, readFileSync } from "node:fs";
import { loadConfig } from "@lobsterd/chassis/config.ts";
import { runService } from "@lobsterd/chassis/lifecycle.ts";
import { createLogger } from "@lobsterd/chassis/logger.ts";
import { VmCgroups } from "./cgroup.ts";
import { type LauncherConfig, launcherConfigSchema } from "./config.ts";
import { requireRootOnly } from "./jail.ts";
import { closeInheritedDescriptors, run } from "./processes.ts";
import { tscKhzFromCpuinfo } from "./qemu.ts";
import { serve } from "./server.ts";
import { type LauncherHost, launcherVerbs } from "./verbs.ts";
import { buildVmmTree } from "./vmm-tree.ts";

/** Makes the launcher's directories and cgroups and reads what it needs to know of the host. Throws HOST_UNSAFE. */
export async function openHost(config: LauncherConfig): Promise<LauncherHost> {
  closeInheritedDescriptors();
  for (const directory of [`${config.runDir}/jails`, `${config.stateDir}/vms`]) {
    mkdirSync(directory, { recursive: true });
    chmodSync(directory, 0o711);
    requireRootOnly(directory);
  }
  requireRootOnly(config.imagesDir);
  return {
    config,
    cgroups: new VmCgroups(config.cgroupRoot, config.cgroupParent, config.stateDir),
    vmmTree: await buildVmmTree(config),
    vmmVersion: /version (\S+)/.exec(await run([config.vmm.binaryPath, "--version"], 5_000))?.[1] ?? "unknown",
    tscKhz: config.tscKhz ?? tscKhzFromCpuinfo(readFileSync("/proc/cpuinfo", "utf8")),
    jailScript: `${import.meta.dirname}/jail.sh`,
  };
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
    logger.info({ vmm: host.vmmVersion, cgroup: host.cgroups.version, tscKhz: host.tscKhz }, "launcher ready");
  });
}
