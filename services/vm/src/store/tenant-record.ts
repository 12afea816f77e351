import { z } from "zod";
import type { IdlePolicy } from "../idle/policy.ts";
import type { Egress, NetworkLimits } from "../network-policy.ts";

export const phaseSchema = z.enum(["spawning", "running", "evicting", "failed", "suspending", "suspended", "resuming"]);

/** Where a tenant is in its life. A spawn that fails ends in no row at all. */
export type TenantPhase = z.infer<typeof phaseSchema>;

export const bootOriginSchema = z.enum(["", "kernel", "template"]);
export type BootOrigin = Exclude<z.infer<typeof bootOriginSchema>, "">;

export const sleepCauseSchema = z.enum(["", "request", "idle", "schedule"]);

/** What began a suspend or a resume: a call, or the host by itself. */
export type SleepCause = Exclude<z.infer<typeof sleepCauseSchema>, "">;

/** What a tenant's microVM is given. */
export interface Resources {
  readonly vcpuCount: number;
  readonly memoryMib: number;
  readonly diskMib: number;
}

/** One tenant as `vm` knows it. `guestAddress` is empty until the network is attached. */
export interface TenantRecord {
  readonly name: string;
  /** Name of the client that owns it, or `""`. */
  readonly owner: string;
  readonly vmId: string;
  readonly requestId: string;
  readonly phase: TenantPhase;
  readonly failureReason: string;
  readonly slot: number;
  /** The last one that was given out: to the guest that runs, or to an attempt that is under way or failed. */
  readonly generation: number;
  /** The generation that the guest is known to have taken last. */
  readonly settledGeneration: number;
  readonly image: string;
  readonly resources: Resources;
  /** What the next boot gives it in their place. The host has promised the larger of both. */
  readonly nextResources: Pick<Resources, "vcpuCount" | "memoryMib"> | undefined;
  readonly labels: Readonly<Record<string, string>>;
  readonly egress: Egress;
  /** The policy before `egress`, for as long as net is not known to have taken that. */
  readonly replacedEgress: Egress | undefined;
  readonly networkLimits: NetworkLimits;
  /** Whether net is not known to have taken these limits. */
  readonly areLimitsPending: boolean;
  /** Names outside the platform's domain that lead to it too, in order. No other tenant has one of them. */
  readonly extraHostNames: readonly string[];
  readonly guestAddress: string;
  /** What its guest's memory began with when it last started from its disk; empty before, and of tenants of before there were templates. */
  readonly bootOrigin: BootOrigin | "";
  readonly createTimeMs: number;
  readonly readyTimeMs: number | undefined;
  /** Sealed sets of this tenant so far, memories and backups. */
  readonly sealCounter: number;
  /** The request that began the last suspend or resume; empty before the first. */
  readonly sleepRequestId: string;
  /** What began it; empty before the first. */
  readonly sleepCause: SleepCause | "";
  readonly idlePolicy: IdlePolicy;
  /** Since when it runs, if it does; 0 before it ever did. */
  readonly runTimeMs: number;
  /** When it is to be resumed, if it is suspended and has anything scheduled. */
  readonly wakeTimeMs: number | undefined;
  /** What was scheduled until then has had a wake of its own. */
  readonly servedThroughMs: number;
  /** What its disk opens with, as `secrets` wrapped it. Undefined: a disk of before there were keys, or a spawn that has not come to it. */
  readonly wrappedDiskKey: Uint8Array | undefined;
}
