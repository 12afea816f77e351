import { randomBytes } from "node:crypto";
import type { Config } from "../config.ts";
import { fail } from "../errors.ts";
import type { ImageCatalogue } from "../guest/images.ts";
import type { IdlePolicy } from "../idle/policy.ts";
import type { Egress, NetworkLimits } from "../network-policy.ts";
import type { SlotStore } from "../store/slots.ts";
import type { Resources, TenantRecord } from "../store/tenant-record.ts";
import { type HostCapacity, requireJailUid } from "./capacity.ts";

/** What a caller asks for. 0 in `resources` means the default. */
export interface SpawnWish {
  readonly requestId: string;
  readonly name: string;
  /** Client that will own it, or `""`. */
  readonly owner: string;
  readonly image: string;
  readonly resources: Resources;
  readonly labels: Readonly<Record<string, string>>;
  readonly egress: Egress;
  readonly networkLimits: NetworkLimits;
  /** Names outside the platform's domain, in any order. */
  readonly extraHostNames: readonly string[];
  readonly idlePolicy: IdlePolicy;
}

type Limits = Pick<Config, "maxVcpuCount" | "maxMemoryMib" | "defaultDiskMib" | "maxDiskMib">;

/** Smallest disk that holds an ext4 journal and is of any use. */
const minimumDiskMib = 64;

/** Resources with defaults filled in and bounds checked. Throws UNKNOWN_IMAGE or RESOURCES_OUT_OF_RANGE naming the field. */
export async function planResources(
  wish: Pick<SpawnWish, "image" | "resources">,
  images: ImageCatalogue,
  limits: Limits,
): Promise<Resources> {
  const image = await images.find(wish.image);
  if (image === undefined) {
    throw fail("UNKNOWN_IMAGE", `image ${wish.image} is not installed on this host`, { metadata: { field: "image" } });
  }
  const { resources } = wish;
  const vcpuCount = within("vcpu_count", resources.vcpuCount || 1, 1, limits.maxVcpuCount);
  // Two vCPUs share a core's threads: Firecracker takes one alone, or pairs.
  if (vcpuCount !== 1 && vcpuCount % 2 !== 0) throw outOfRange("vcpu_count", "1 or an even number", vcpuCount);
  return {
    vcpuCount,
    memoryMib: within(
      "memory_mib",
      resources.memoryMib || image.defaultMemoryMib,
      image.minimumMemoryMib,
      limits.maxMemoryMib,
    ),
    diskMib: within("disk_mib", resources.diskMib || limits.defaultDiskMib, minimumDiskMib, limits.maxDiskMib),
  };
}

/** Makes every choice of a spawn. Called inside the journal's transaction, so that the slot is still free when it is taken. */
export function planTenant(
  wish: SpawnWish,
  resources: Resources,
  slots: SlotStore,
  capacity: HostCapacity,
  nowMs: number,
): TenantRecord {
  const slot = slots.choose(nowMs);
  if (slot === undefined) {
    throw fail("NO_FREE_SLOT", "every slot of this host is taken or was freed less than a minute ago", {
      metadata: { resource: "slots", wanted: "1", left: "0" },
    });
  }
  requireJailUid(capacity, slot);
  return {
    name: wish.name,
    owner: wish.owner,
    vmId: randomBytes(16).toString("hex"),
    requestId: wish.requestId,
    phase: "spawning",
    failureReason: "",
    slot,
    generation: 1,
    settledGeneration: 1,
    image: wish.image,
    resources,
    labels: wish.labels,
    egress: wish.egress,
    replacedEgress: undefined,
    networkLimits: wish.networkLimits,
    extraHostNames: wish.extraHostNames.toSorted(),
    guestAddress: "",
    bootOrigin: "",
    createTimeMs: nowMs,
    readyTimeMs: undefined,
    sealCounter: 0,
    sleepRequestId: "",
    sleepCause: "",
    idlePolicy: wish.idlePolicy,
    runTimeMs: 0,
    wakeTimeMs: undefined,
    servedThroughMs: 0,
    nextResources: undefined,
    areLimitsPending: false,
    wrappedDiskKey: undefined,
  };
}

function within(field: string, value: number, minimum: number, maximum: number): number {
  if (value >= minimum && value <= maximum) return value;
  throw outOfRange(field, `between ${minimum} and ${maximum}`, value);
}

function outOfRange(field: string, wanted: string, value: number) {
  return fail("RESOURCES_OUT_OF_RANGE", `resources.${field} must be ${wanted}, not ${value}`, {
    metadata: { field: `resources.${field}` },
  });
}
