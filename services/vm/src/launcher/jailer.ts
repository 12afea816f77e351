import type { VmPaths } from "./config.ts";
import type { Channel } from "./protocol.ts";
import type { JailDescription } from "./read-back.ts";

/** One start of a VM, with everything that the launcher derived for it. */
export interface StartPlan {
  readonly vmId: string;
  readonly image: string;
  readonly vcpuCount: number;
  readonly memoryMib: number;
  readonly overlayMib: number;
  readonly uid: number;
  readonly paths: VmPaths;
  /** Path of the slot's network namespace. */
  readonly network: string;
  /** Files of the VM's cgroup into which a process that moves itself writes 0; the kill's hierarchy first. */
  readonly joinFiles: readonly string[];
  /** What the cgroup's files must hold, and do hold when the jail is built. */
  readonly cgroupValues: readonly { readonly file: string; readonly value: string }[];
}

/**
 * How a channel is opened: a socket or FIFO that the VMM made, a socket on which the launcher waits for the VMM, once, or a file of a saved state that
 * the VMM wrote, or is to load.
 */
export interface ChannelPlace {
  readonly name: string;
  readonly kind: "socket" | "fifo" | "listener" | "written" | "loaded";
}

/**
 * What a VM's memory is at its start: empty; to be sent to it over the channel "incoming"; or a template, of which this is a descriptor open for
 * reading. A VMM that is built from a template has loaded it, and stands still.
 */
export type MemorySource = "boot" | "incoming" | { readonly template: number };

/** A jailed VMM before guest code runs. */
export interface JailedVmm {
  /** Times of performance.now(): when the jail was complete and the VMM's own start began, and when the VMM answered. */
  readonly jailBuiltMs: number;
  readonly answeredMs: number;
  /** Lets guest code run where the launcher is who decides that. */
  run(): Promise<void>;
  /** Gives up what connects the launcher to the VMM, which goes on without it. */
  release(): void;
}

/** How one kind of VMM is jailed. What a VM's jail must be in the end is the same verbs' affair for all of them. */
export interface Jailer {
  readonly description: {
    readonly name: string;
    readonly version: string;
    readonly accelerator: string;
    readonly productionBoundary: boolean;
    /** Why this VMM and this accelerator, for people. */
    readonly reason: string;
  };
  /** Whether it can be built from a template, and one be saved of its VMs (ADR 0044). */
  readonly offersTemplates: boolean;
  /** Memory that the VMM needs beside 1.5 x the guest's. */
  readonly overheadMib: number;
  /** What `vm` may reach of a VM through the launcher. */
  readonly channels: Readonly<Partial<Record<Channel, ChannelPlace>>>;
  /** Whether the machine has a timer of the kernel's, whose thread has to be placed when KVM is used. */
  readonly hasKernelTimer: boolean;
  /** The directory of a VM's channels as a path on the host. The VMM may change what is in it; the directories above it are root's alone. */
  channelsIn(paths: VmPaths, vmId: string): string;
  /** Makes what the jail needs before the first start. The VM's directories are new and empty. */
  prepare(paths: VmPaths, image: string): void;
  /** Takes away what an earlier run left and makes the jail new. */
  renew(paths: VmPaths): void;
  /** Refuses a start before it has an effect. Throws HOST_UNSAFE, ARTIFACT_MISMATCH. */
  check(paths: VmPaths, image: string): Promise<void>;
  /** Starts the VMM in its jail. The caller kills what is left of a failed start. Throws VMM_FAILED. */
  build(plan: StartPlan, source: MemorySource, requireMember: (pid: number) => void): Promise<JailedVmm>;
  /** What the VMM's process must look like, before or after guest code could run. */
  describeJail(plan: StartPlan, booted: boolean): JailDescription;
}
