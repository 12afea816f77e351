import { Code } from "@connectrpc/connect";
import { defineErrors } from "@lobsterd/chassis/errors.ts";

/** 32 lower-case hexadecimal digits, chosen at random by the caller. */
export type VmId = string;

/** What the host runs microVMs with. */
export interface VmmDescription {
  readonly vmm: string;
  readonly version: string;
  /** "tcg" is emulation; "kvm" is hardware. */
  readonly accelerator: string;
  /** False when hostile tenants need a stronger boundary than this one; the reader must be told. */
  readonly productionBoundary: boolean;
  /** Why this VMM and this accelerator. */
  readonly reason: string;
  readonly cores: number;
  readonly memoryMib: number;
  /** A VM's memory limit in MiB: so much for each MiB of its guest's, and so much beside them. */
  readonly memoryLimit: { readonly perGuestMib: number; readonly besideMib: number };
  /** What is free for overlays, and what they have taken already. */
  readonly overlayCapacityMib: number;
  /** Slots 0 to slotCount - 1 have a uid. */
  readonly slotCount: number;
}

export interface VmPreparation {
  readonly vmId: VmId;
  /** Decides the VM's uid and network namespace; one VM a slot. */
  readonly slot: number;
  readonly image: string;
  /** Size of the tenant's writable disk, 16 MiB or more; the file is sparse. */
  readonly overlayMib: number;
}

export interface VmStart {
  readonly vmId: VmId;
  readonly slot: number;
  readonly image: string;
  readonly vcpuCount: number;
  readonly memoryMib: number;
  /** At most 64 KiB; padded with zeros. The caller clears its own copy. */
  readonly identityDrive: Uint8Array;
}

/** Where the time of a start went: its stages in milliseconds, one after the other. */
export interface VmStartReport {
  readonly stagesMs: {
    /** Checks, identity drive, cgroup. */
    readonly prepare: number;
    readonly jail: number;
    /** The VMM's own start, from its exec until its CPUs could run: what a VMM without a jail takes too. */
    readonly vmm: number;
    readonly readBack: number;
    readonly resume: number;
  };
}

export interface VmSummary {
  readonly vmId: VmId;
  /** Absent when what is left of the VM does not tell it. */
  readonly slot?: number;
  /** "exited": it ran, and its disk is kept until `remove`. */
  readonly state: "prepared" | "running" | "exited";
}

/** A running VMM as its process reads now. */
export interface VmInspection {
  readonly pid: number;
  readonly uid: number;
  /** Inode numbers by kind: mnt, pid, net, ipc, uts, cgroup. */
  readonly namespaces: Readonly<Record<string, string>>;
  /** One per thread; 2 is a filter. */
  readonly seccompModes: readonly number[];
  readonly capabilities: { readonly effective: string; readonly bounding: string };
  readonly noNewPrivileges: boolean;
  /** Limit files of the VM's cgroup by name. */
  readonly cgroup: Readonly<Record<string, string>>;
}

/**
 * The microVMs of one host. Calls for different VMs run at the same time; calls for one VM run in the order in which they arrive. Every
 * call may fail with UNAVAILABLE or TIMED_OUT (both: it may or may not have happened, and may be repeated where it says so
 * below), INVALID_REQUEST, INTERNAL or INVALID_ANSWER.
 */
export interface VmmPort {
  describe(): Promise<VmmDescription>;

  /**
   * Makes the VM's disk and jail. On return its record is durable: whatever happens to the host, `list` names the VM until `remove`.
   * Never reuses anything: a second call is ALREADY_EXISTS, after a call that was cut off `remove` comes first. A failed call leaves nothing.
   * Errors: ALREADY_EXISTS, SLOT_IN_USE, IMAGE_MISSING, HOST_UNSAFE.
   */
  prepare(preparation: VmPreparation): Promise<void>;

  /**
   * Starts a prepared or exited VM and returns when it runs, confined as its jail describes; the guest boots from then on. A failed
   * call leaves the VM as it was, without its identity drive. Not idempotent: on a running VM it is WRONG_STATE.
   * Errors: NOT_FOUND, WRONG_STATE, IMAGE_MISSING, ARTIFACT_MISMATCH, NETWORK_MISSING, HOST_UNSAFE, VMM_FAILED, JAIL_MISMATCH,
   * and MACHINE_MISMATCH when the VMM's own account of the machine is not what was ordered.
   */
  start(start: VmStart): Promise<VmStartReport>;

  /** Every VM of which anything is left, at most 2,500. */
  list(): Promise<readonly VmSummary[]>;

  /** Errors: NOT_FOUND when there is no such VM or it does not run, JAIL_MISMATCH when its process cannot be read as its own. */
  inspect(vmId: VmId): Promise<VmInspection>;

  /** Overwrites the identity drive with zeros, for a running guest too. Safe to repeat. Errors: NOT_FOUND, HOST_UNSAFE. */
  emptyIdentityDrive(vmId: VmId): Promise<void>;

  /**
   * Kills the VM and deletes everything of it; on return no process, file or cgroup is left and the slot is free. Safe to repeat, also for
   * a VM that never was. Errors: HOST_UNSAFE.
   */
  remove(vmId: VmId): Promise<void>;
}

/** The closed set of failures of a VMM port. */
export const vmmFail = defineErrors("vmm.lobsterd", {
  INVALID_REQUEST: Code.InvalidArgument,
  ALREADY_EXISTS: Code.AlreadyExists,
  SLOT_IN_USE: Code.Aborted,
  NOT_FOUND: Code.NotFound,
  WRONG_STATE: Code.FailedPrecondition,
  IMAGE_MISSING: Code.FailedPrecondition,
  ARTIFACT_MISMATCH: Code.DataLoss,
  NETWORK_MISSING: Code.FailedPrecondition,
  HOST_UNSAFE: Code.FailedPrecondition,
  VMM_FAILED: Code.Unavailable,
  JAIL_MISMATCH: Code.Internal,
  MACHINE_MISMATCH: Code.Internal,
  KVM_PIT_UNPLACED: Code.Internal,
  CHANNEL_BUSY: Code.Aborted,
  INTERNAL: Code.Internal,
  UNAVAILABLE: Code.Unavailable,
  TIMED_OUT: Code.DeadlineExceeded,
  INVALID_ANSWER: Code.Internal,
});
