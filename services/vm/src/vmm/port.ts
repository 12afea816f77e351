import type { Readable, Writable } from "node:stream";
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
  /** Whether `start` takes VMs out of templates where it can, and how many there are now. Firecracker's are not offered yet. */
  readonly templates: { readonly offered: boolean; readonly count: number };
}

export interface VmPreparation {
  readonly vmId: VmId;
  /** Decides the VM's uid and network namespace; one VM a slot. */
  readonly slot: number;
  readonly image: string;
  /** Size of the tenant's writable disk, 16 MiB or more; the file is sparse. */
  readonly overlayMib: number;
  /** 64 bytes: the disk is an empty file system that opens with this key alone. The caller clears its own copy. */
  readonly diskKey: Uint8Array;
}

export interface VmStart {
  readonly vmId: VmId;
  readonly slot: number;
  readonly image: string;
  readonly vcpuCount: number;
  readonly memoryMib: number;
  /**
   * 1 or more, and higher than that of every earlier start or load of this VM: a saved state that is offered a second time under the
   * generation it was used with is refused by the launcher too, which keeps the last one durably.
   */
  readonly generation: number;
  /** At most 64 KiB; padded with zeros. The caller clears its own copy. */
  readonly identityDrive: Uint8Array;
  /** False for a `start` after one whose guest did not answer: it boots, and the template that it may have had is dropped. True by default. */
  readonly useTemplate?: boolean;
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
  /** How long a template was loaded before that, or saved after it; 0 without one. */
  readonly templateMs: number;
  readonly origin: StartOrigin;
  /** Why a template was not used, or not made, though there was to be one; the VM was booted then. */
  readonly templateFault?: string | undefined;
}

/** What a VM began with: the boot of its kernel, a template of its image and sizes, or the state of `load`. */
export type StartOrigin = "kernel" | "template" | "state";

export interface VmSummary {
  readonly vmId: VmId;
  /** Absent when what is left of the VM does not tell it. */
  readonly slot?: number;
  /** "running": also while it is paused or loaded. "exited": it ran, and its disk is kept until `remove`. */
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
   * Starts a prepared or exited VM and returns when it runs, confined as its jail describes; the guest boots from then on, or goes on from a
   * template: the memory of a guest like it that had no identity yet. Which, is the host's affair, and nothing that a caller gives becomes one. After a
   * failed call it does not run, and has no identity drive. Not idempotent: on a running VM it is WRONG_STATE.
   * Errors: NOT_FOUND, WRONG_STATE, STALE_GENERATION, IMAGE_MISSING, ARTIFACT_MISMATCH, NETWORK_MISSING, HOST_UNSAFE, VMM_FAILED, JAIL_MISMATCH, and
   * MACHINE_MISMATCH when the VMM's own account of the machine is not what was ordered.
   */
  start(start: VmStart): Promise<VmStartReport>;

  /**
   * Pauses a running VM and writes its whole state (memory and devices) to `sink`, as fast as the sink takes it, in pieces that are the sink's own; ends it. On
   * return the VM is paused and writes to its disk no more: then `stop` when the state will be used, `unpause` when it was discarded. After
   * a failure the VM runs, the sink is destroyed, and what it got is worth nothing; only when the VMM itself ended, it is exited.
   * Errors: NOT_FOUND, WRONG_STATE (it is paused), VMM_FAILED, TIMED_OUT, and UNAVAILABLE when the guest may be paused still (then `unpause`
   * it). A sink that fails fails the call with its own error.
   */
  save(vmId: VmId, sink: Writable): Promise<{ readonly bytes: number }>;

  /** Pauses a running VM, until `unpause`. Errors: NOT_FOUND, VMM_FAILED, WRONG_STATE. */
  pause(vmId: VmId): Promise<void>;

  /**
   * The VM's whole disk, as it was when this resolved: a copy, so that the VM may go on. Of a VM that is running it is of one moment only if it
   * is paused meanwhile. Whoever asked reads it to its end or destroys it. Errors: NOT_FOUND.
   */
  readDisk(vmId: VmId): Promise<Readable>;

  /**
   * Takes a disk of exactly the VM's size, beside its own, and returns when it is durable; `replaceDisk` puts it in place. A failed call leaves nothing, and
   * `stop` drops it. A disk that fails to be read fails the call with its own error. Errors: NOT_FOUND, WRONG_STATE (it runs), UNAVAILABLE.
   */
  writeDisk(vmId: VmId, disk: AsyncIterable<Uint8Array>): Promise<void>;

  /** Puts the disk that `writeDisk` took in the place of the VM's own; durable on return. Does nothing when there is none. Errors: NOT_FOUND, WRONG_STATE (it runs). */
  replaceDisk(vmId: VmId): Promise<void>;

  /**
   * Lets a paused VM go on whose saved state is not and will never be used: both would write the same disk. Safe to repeat; does
   * nothing on a VM that runs. Errors: NOT_FOUND, VMM_FAILED, and WRONG_STATE for a loaded VM where the VMM can tell.
   */
  unpause(vmId: VmId): Promise<void>;

  /** Kills the VM and its identity drive and keeps its disk; its state is "exited". Safe to repeat; also for a VM that does not run. Errors: NOT_FOUND. */
  stop(vmId: VmId): Promise<void>;

  /**
   * Like `start`, out of a state that `save` wrote, into a machine of the same sizes with the disk as `save` left it. On return the VM is
   * loaded and paused: no guest instruction has run. A failure leaves it exited and without its identity drive; one that came after the
   * first byte of the state has used the generation up. The state is read to its end, or destroyed; its pieces are the VMM's own, and may be empty afterwards.
   * Errors: those of `start`; VMM_FAILED for a state that is too short, too long or corrupt, MACHINE_MISMATCH for one of another
   * VMM. A state that fails to be read fails the call with its own error.
   */
  load(start: VmStart, state: Readable): Promise<VmStartReport>;

  /** Lets a loaded VM run: from here on its state is used up. Errors: NOT_FOUND, WRONG_STATE (it runs, or was saved), VMM_FAILED. */
  resume(vmId: VmId): Promise<void>;

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

/** What a host of VMMs does by itself; the rest of the port is done over the VMM's own interface. */
export type VmmHost = Omit<VmmPort, "save" | "pause" | "unpause" | "stop" | "load" | "resume">;

/** The closed set of failures of a VMM port. */
export const vmmFail = defineErrors("vmm.lobsterd", {
  INVALID_REQUEST: Code.InvalidArgument,
  ALREADY_EXISTS: Code.AlreadyExists,
  SLOT_IN_USE: Code.Aborted,
  NOT_FOUND: Code.NotFound,
  WRONG_STATE: Code.FailedPrecondition,
  STALE_GENERATION: Code.FailedPrecondition,
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
