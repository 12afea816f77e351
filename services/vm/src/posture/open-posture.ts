import type { Config } from "../config.ts";
import type { HostEvents } from "../events.ts";
import type { HostParts } from "../lifecycle/host-parts.ts";
import type { ConntrackNumbers } from "./control.ts";
import { shippedRiskRegisterPath } from "./controls/residual-risks.ts";
import { openHostFiles, type Reading } from "./host-files.ts";
import { shippedVersionsPath } from "./known-versions.ts";
import { createHostLook } from "./look.ts";
import { createPosture, type HostPosture } from "./posture.ts";

/** The posture of the host that the service runs on. */
export function openPosture(
  config: Config,
  { vmm, net }: Pick<HostParts, "vmm" | "net">,
  events: HostEvents,
): HostPosture {
  const look = createHostLook({
    files: openHostFiles(),
    slotCount: config.slotCount,
    inService: true,
    paths: {
      waivers: config.waiversPath,
      attestations: config.attestationsPath,
      knownVersions: config.knownVersionsPath ?? shippedVersionsPath,
      riskRegister: config.riskRegisterPath ?? shippedRiskRegisterPath,
    },
    rootKey: config.rootKey,
    nodeVersion: process.versions.node,
    describeVmm: () => vmm.describe().catch(() => undefined),
    readConntrack: () => askNet(net),
    now: Date.now,
  });
  return createPosture({
    ...{ mode: config.mode, look, events, now: Date.now },
    maxAgeMs: 2 * config.postureIntervalMs,
  });
}

/** The limit is the kernel's, but expiry is each network namespace's: `net` reads both where tenants' packets pass. It knows its limits, too. */
async function askNet(net: HostParts["net"]): Promise<Reading<ConntrackNumbers>> {
  try {
    const capacity = await net.getNetworkCapacity({});
    return {
      ok: true,
      value: {
        max: capacity.conntrackMax,
        buckets: capacity.conntrackBuckets,
        need: capacity.conntrackMaxForAllSlots,
        establishedTimeoutSeconds: capacity.conntrackEstablishedTimeoutSeconds,
      },
    };
  } catch {
    return { ok: false, cause: "missing", why: "net does not answer, which reads the connection table" };
  }
}
