import type { HostFiles, Reading } from "./host-files.ts";
import type { KnownVersions } from "./known-versions.ts";
import type { Attestation } from "./operator-word.ts";

/** How a control stands. Unknown: it could not be read or told, which is never a pass. */
export type Verdict = "pass" | "fail" | "not-applicable" | "unknown";

export interface Finding {
  readonly verdict: Verdict;
  /** What was read, for the operator: one line. */
  readonly measured: string;
}

/** One row of the host's posture. */
export interface Control {
  /** As in the control catalogue: `HOST-04`. */
  readonly id: string;
  /** P0: production spawns no tenant while it is failed or unknown. */
  readonly required: boolean;
  readonly requirement: string;
  /** How an operator makes it pass; `deploy/host/` has the files. */
  readonly remedy: string;
  /** Reads and judges. Throws nothing: what cannot be read is a finding. */
  check(host: HostView): Promise<Finding>;
}

/** The VMM in use, as the launcher describes it. */
export interface VmmFacts {
  /** `firecracker`, `qemu`. */
  readonly vmm: string;
  readonly version: string;
  /** `kvm`, or `tcg` for emulation. */
  readonly accelerator: string;
  readonly productionBoundary: boolean;
}

/** The kernel's connection table where tenants' traffic is tracked. */
export interface ConntrackNumbers {
  readonly max: number;
  readonly buckets: number;
  readonly establishedTimeoutSeconds: number;
  /** Entries that `net` needs for all slots at the limits that it is configured with; absent where it was not asked. */
  readonly need?: number;
}

/** What memory controllers had counted at an earlier check. */
export interface MemoryErrorSample {
  readonly timeMs: number;
  readonly corrected: number;
}

/** Everything that controls are judged by. */
export interface HostView {
  readonly files: HostFiles;
  readonly nowMs: number;
  /** MicroVMs that this host is to hold. */
  readonly slotCount: number;
  /** `undefined`: no launcher was asked or none answered. Controls are then judged as for the production VMM. */
  readonly vmm: VmmFacts | undefined;
  /** True in the service that spawns; false in the command, whose own process says nothing of the service's. */
  readonly inService: boolean;
  /** How long a timer thread may be outside its VM's cgroup while a check looks on: as long as the launcher may take. */
  readonly placementLimitMs: number;
  /** Whether the launcher gives each VM a core-scheduling cookie. */
  readonly coreCookies: boolean;
  readonly conntrack: Reading<ConntrackNumbers>;
  readonly known: Reading<KnownVersions>;
  readonly attestations: Reading<readonly Attestation[]>;
  readonly riskRegisterPath: string;
  /** Version of Node that runs the services: `24.1.0`. */
  readonly nodeVersion: string;
  /** `undefined` where the root key is not a file on this host. */
  readonly rootKey: { readonly keyDir: string; readonly storeDir: string } | undefined;
  readonly earlierMemoryErrors: MemoryErrorSample | undefined;
}

export const pass = (measured: string): Finding => ({ verdict: "pass", measured });
export const failed = (measured: string): Finding => ({ verdict: "fail", measured });
export const unknown = (measured: string): Finding => ({ verdict: "unknown", measured });
export const notApplicable = (measured: string): Finding => ({ verdict: "not-applicable", measured });

/** `judge` of what was read, or unknown with the reason. */
export function judged<T>(reading: Reading<T>, judge: (value: T) => Finding): Finding {
  return reading.ok ? judge(reading.value) : unknown(reading.why);
}

/** One finding out of several: the worst verdict, and all that is not met. A pass keeps every part's measurement. */
export function worst(parts: readonly Finding[]): Finding {
  const measuredOf = (those: readonly Finding[]) => those.map(({ measured }) => measured).join("; ");
  const failures = parts.filter(({ verdict }) => verdict === "fail");
  const open = parts.filter(({ verdict }) => verdict === "unknown");
  if (failures.length > 0) return failed(measuredOf([...failures, ...open]));
  if (open.length > 0) return unknown(measuredOf(open));
  const all = measuredOf(parts);
  return parts.every(({ verdict }) => verdict === "not-applicable") ? notApplicable(all) : pass(all);
}

/** A decimal integer and nothing else. */
export function integerOf(path: string, reading: Reading<string>): Reading<number> {
  if (!reading.ok) return reading;
  const value = Number(reading.value);
  return /^-?\d{1,15}$/.test(reading.value)
    ? { ok: true, value }
    : { ok: false, cause: "unfit", why: `${path} is not a number` };
}

export async function readInteger(files: HostFiles, path: string): Promise<Reading<number>> {
  return integerOf(path, await files.text(path));
}

/** For controls that are about guests under KVM and about nothing else. */
export function isEmulated(host: HostView): boolean {
  return host.vmm?.accelerator === "tcg";
}

const dayMs = 86_400_000;

/** Whole days from the start of a day, `2026-11-26`, until now; negative for a day to come. */
export function daysSince(day: string, nowMs: number): number {
  return Math.floor((nowMs - Date.parse(`${day}T00:00:00Z`)) / dayMs);
}
