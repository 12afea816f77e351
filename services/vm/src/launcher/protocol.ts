import type { Duplex } from "node:stream";
import { z } from "zod";
import { diskKeyBytes } from "./disk-cipher.ts";

/** Size of the identity drive. The guest reads all of it, so it is small. */
export const identityDriveBytes = 64 * 1024;
export const maxMessageBytes = 256 * 1024;
/** What an image consists of, beside its manifest. */
export const imageFiles = ["vmlinux", "initrd.cpio", "rootfs.erofs"] as const;

const vmId = z.string().regex(/^[0-9a-f]{32}$/);
const slot = z.int().min(0).max(65_535);
const image = z.string().regex(/^[a-z0-9][a-z0-9-]{0,39}$/);
const diskKey = z.base64().refine((text) => Buffer.byteLength(text, "base64") === diskKeyBytes);
const onlyVmId = z.strictObject({ vmId });

/**
 * What `connect` can reach of a running VMM: its API both ways, the state of its VM out of it (`state`) and into it (`incoming`), the
 * others from the VMM only. A VMM that saves into files has the guest's memory apart (`memory`, `incomingMemory`); those that it is to load are answered with one
 * more line when all of their bytes are there.
 */
export const channels = ["api", "log", "metrics", "serial", "state", "incoming", "memory", "incomingMemory"] as const;
export type Channel = (typeof channels)[number];

const start = z.strictObject({
  vmId,
  slot,
  image,
  vcpuCount: z.int().min(1).max(32),
  memoryMib: z.int().min(64).max(1_048_576),
  generation: z.int().min(1),
  identityDrive: z.base64().refine((text) => Buffer.byteLength(text, "base64") <= identityDriveBytes),
});
/** False: it is booted, and a template of its image and sizes is dropped, since a guest that began with it did not answer. */
const useTemplate = z.boolean().optional();

/** Arguments of every verb. None is a path, a uid or a command. */
export const verbArguments = {
  describe: z.strictObject({}),
  list: z.strictObject({}),
  prepare: z.strictObject({ vmId, slot, image, overlayMib: z.int().min(16).max(1_048_576), diskKey }),
  start: start.extend({ useTemplate }),
  load: start,
  connect: z.strictObject({ vmId, channel: z.enum(channels) }),
  place: onlyVmId,
  makeRoom: onlyVmId,
  clearRoom: onlyVmId,
  inspect: onlyVmId,
  emptyIdentityDrive: onlyVmId,
  readDisk: onlyVmId,
  writeDisk: onlyVmId,
  replaceDisk: onlyVmId,
  stop: onlyVmId,
  remove: onlyVmId,
} as const;

const namespaces = z.record(z.enum(["mnt", "pid", "net", "ipc", "uts", "cgroup"]), z.string());
const listed = z.strictObject({
  vmId,
  slot: slot.optional(),
  state: z.enum(["prepared", "running", "exited"]),
});

const started = z.strictObject({
  stagesMs: z.strictObject({
    prepare: z.number(),
    jail: z.number(),
    vmm: z.number(),
    readBack: z.number(),
    resume: z.number(),
  }),
  /** How long a template was loaded, or saved, between them; 0 without one. */
  templateMs: z.number(),
  /** What it began with: the boot of its kernel, a template of this launcher's, or the state that `load` is sent. */
  origin: z.enum(["kernel", "template", "state"]),
  /** Why a template was not made or not used though there was to be one. */
  templateFault: z.string().max(4096).optional(),
});

/** Results of every verb; the client checks them with the same schemas. */
export const verbResults = {
  describe: z.strictObject({
    name: z.string(),
    version: z.string(),
    accelerator: z.string(),
    productionBoundary: z.boolean(),
    reason: z.string().max(1024),
    cores: z.int(),
    memoryMib: z.int(),
    memoryLimit: z.strictObject({ perGuestMib: z.number(), besideMib: z.number() }),
    overlayCapacityMib: z.int(),
    slotCount: z.int(),
    /** Whether VMs of this VMM start from templates, and how many the launcher has. */
    templates: z.strictObject({ offered: z.boolean(), count: z.int() }),
  }),
  list: z.strictObject({ vms: z.array(listed).max(2_500) }),
  prepare: z.strictObject({}),
  start: started,
  /** The VMM waits for its state: no guest code has run. */
  load: started,
  /** The connection carries the channel's bytes from the line after this answer on. */
  connect: z.strictObject({}),
  /** "none": this VMM has no such thread to place. */
  place: z.strictObject({ kvmPit: z.enum(["placed", "none"]) }),
  /** How long the file of the guest's memory is. */
  makeRoom: z.strictObject({ memoryMib: z.int() }),
  clearRoom: z.strictObject({}),
  inspect: z.strictObject({
    pid: z.int(),
    uid: z.int(),
    namespaces,
    seccompModes: z.array(z.int()),
    capabilities: z.strictObject({ effective: z.string(), bounding: z.string() }),
    noNewPrivileges: z.boolean(),
    cgroup: z.record(z.string(), z.string()),
  }),
  emptyIdentityDrive: z.strictObject({}),
  /** The connection carries the disk from the line after this answer on: as it was when the answer came. */
  readDisk: z.strictObject({}),
  /** The connection takes the new disk, and answers once more when all of it is durable. */
  writeDisk: z.strictObject({}),
  replaceDisk: z.strictObject({}),
  stop: z.strictObject({}),
  remove: z.strictObject({}),
} as const;

export type Verb = keyof typeof verbArguments;
export type Arguments<V extends Verb> = z.infer<(typeof verbArguments)[V]>;
export type Result<V extends Verb> = z.infer<(typeof verbResults)[V]>;

/** Verbs after whose answer the connection carries bytes. */
export const streamVerbs = ["connect", "readDisk", "writeDisk"] as const;
export type StreamVerb = (typeof streamVerbs)[number];

export type Verbs = {
  readonly [V in Exclude<Verb, StreamVerb>]: (request: Arguments<V>) => Promise<Result<V>>;
} & {
  /** The open channel; whoever asked for it ends it. */
  readonly [V in StreamVerb]: (request: Arguments<V>) => Promise<Duplex>;
};

export const requestSchema = z.strictObject({
  verb: z.enum(Object.keys(verbArguments) as [Verb, ...Verb[]]),
  arguments: z.unknown(),
  traceparent: z
    .string()
    .regex(/^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/)
    .optional(),
});

/** Why the launcher refuses or fails. */
export const reasons = [
  "INVALID_REQUEST",
  "ALREADY_EXISTS", // a record, jail or overlay of that name exists
  "SLOT_IN_USE", // another VM has the slot, and so the uid
  "NOT_FOUND", // no such VM, or nothing of it that runs
  "WRONG_STATE", // it runs already, or its record says otherwise
  "STALE_GENERATION", // a start of this or a higher generation has been
  "IMAGE_MISSING", // a file of the image is absent or not root's alone
  "ARTIFACT_MISMATCH", // a file of the image or of the VMM is not the one whose digest is known
  "NETWORK_MISSING", // the slot has no network namespace
  "HOST_UNSAFE", // somebody other than root can write where the launcher builds
  "VMM_FAILED", // the VMM ended or did not answer while it started, or there is no room for its memory
  "JAIL_MISMATCH", // the process differs from its jail's description; it was killed
  "KVM_PIT_UNPLACED", // the VM's timer thread is not in its cgroup; the VM was killed
  "CHANNEL_BUSY", // somebody else has the VM's channel
  "INTERNAL",
] as const;

export type Reason = (typeof reasons)[number];

export const answerSchema = z.discriminatedUnion("ok", [
  z.strictObject({ ok: z.literal(true), result: z.unknown() }),
  z.strictObject({ ok: z.literal(false), reason: z.enum(reasons), message: z.string().max(4096) }),
]);

export type Answer = z.infer<typeof answerSchema>;

export class LauncherError extends Error {
  override readonly name = "LauncherError";
  readonly reason: Reason;

  constructor(reason: Reason, message: string) {
    super(message);
    this.reason = reason;
  }
}
