import type { ConntrackNumbers, HostView, MemoryErrorSample, VmmFacts } from "./control.ts";
import { sampleMemoryErrors } from "./controls/memory.ts";
import type { HostFiles, Reading } from "./host-files.ts";
import { readKnownVersions } from "./known-versions.ts";
import { readAttestations, readWaivers } from "./operator-word.ts";
import { checkControls, controlIds, type PostureReport } from "./report.ts";

/** Where a look at the host takes its facts from. */
export interface HostSources {
  readonly files: HostFiles;
  readonly slotCount: number;
  readonly inService: boolean;
  readonly paths: {
    readonly waivers: string;
    readonly attestations: string;
    readonly knownVersions: string;
    readonly riskRegister: string;
  };
  readonly rootKey: HostView["rootKey"];
  readonly nodeVersion: string;
  /** The VMM in use; `undefined` when nobody answers. */
  readonly describeVmm: () => Promise<VmmFacts | undefined>;
  /** The connection table of the network namespace that tenants' traffic passes. */
  readonly readConntrack: () => Promise<Reading<ConntrackNumbers>>;
  readonly now: () => number;
}

const sampleIntervalMs = 3_600_000;

/** Returns what looks at the whole host once. Memory errors are counted from the last look that was an hour or more ago. */
export function createHostLook(sources: HostSources): () => Promise<PostureReport> {
  const { files, paths, slotCount, inService, rootKey, nodeVersion } = sources;
  let sample: MemoryErrorSample | undefined;
  return async () => {
    const nowMs = sources.now();
    const [vmm, conntrack, known, attestations, waivers] = await Promise.all([
      sources.describeVmm(),
      sources.readConntrack(),
      readKnownVersions(files, paths.knownVersions),
      readAttestations(files, paths.attestations),
      readWaivers(files, paths.waivers, controlIds, nowMs),
    ]);
    const host: HostView = {
      ...{ files, nowMs, slotCount, vmm, inService, conntrack, known, attestations, rootKey, nodeVersion },
      // The launcher starts VMMs without PR_SCHED_CORE.
      coreCookies: false,
      placementLimitMs: 2000,
      riskRegisterPath: paths.riskRegister,
      earlierMemoryErrors: sample,
    };
    const report = await checkControls(host, waivers);
    if (sample === undefined || nowMs - sample.timeMs >= sampleIntervalMs) {
      sample = await sampleMemoryErrors(files, nowMs);
    }
    return report;
  };
}
