/**
 * Admission: a spawn is refused before its first side effect when the host has no room for what it is promised. What tenants hold is
 * counted from their rows, inside the transaction that inserts the next one, so spawns that run at the same time cannot overshoot
 * together. A tenant holds what it was promised from its plan until nothing of it is left, whatever it uses.
 */
import { readFile } from "node:fs/promises";
import { isAbsence } from "@lobsterd/chassis/absence.ts";
import type { Config } from "../config.ts";
import { fail } from "../errors.ts";
import type { Resources } from "../store/tenant-record.ts";
import type { VmmDescription } from "../vmm/port.ts";
import type { HostParts } from "./host-parts.ts";
import type { SleepFiles } from "./sleep-files.ts";

const mib = 1024 * 1024;

/** What `net` lets one tenant have tracked, out and in, and what the host keeps for itself (control HOST-05). */
const connectionsPerTenant = 2 * 1024;
const hostConnections = 16_384;
const connectionMargin = 1.25;
const connectionMaxPath = "/proc/sys/net/netfilter/nf_conntrack_max";

/** Amounts of everything that tenants share. */
export interface Amounts {
  readonly vcpus: number;
  /** Memory limits of the cgroups: guests and their VMMs. */
  readonly memoryMib: number;
  /** Writable disks, and the sealed memories of those who sleep: whoever runs has room to be suspended. */
  readonly diskMib: number;
  /** Tracked connections; not limited where the kernel tracks none. */
  readonly connections: number;
}

/** What this host admits at most. */
export interface HostCapacity extends Amounts {
  /** Slots for which the launcher has a jail uid. */
  readonly jailUids: number;
  readonly memoryLimit: VmmDescription["memoryLimit"];
}

type CapacityConfig = Pick<Config, "vcpuOvercommit" | "reservedMemoryMib" | "reservedDiskMib">;

/** What was measured of the host beside the launcher's description. */
export interface Measured {
  /** What sealed memories have taken of the room that overlays have, too. */
  readonly sealedBytes: number;
  /** The kernel's `nf_conntrack_max`; undefined where it tracks no connections. */
  readonly connectionMax?: number | undefined;
}

export function capacityOf(
  description: VmmDescription,
  config: CapacityConfig,
  { sealedBytes, connectionMax }: Measured,
): HostCapacity {
  const atLeastNone = (amount: number) => Math.max(0, Math.floor(amount));
  return {
    vcpus: atLeastNone(description.cores * config.vcpuOvercommit),
    memoryMib: atLeastNone(description.memoryMib - config.reservedMemoryMib),
    diskMib: atLeastNone(description.overlayCapacityMib + sealedBytes / mib - config.reservedDiskMib),
    connections:
      connectionMax === undefined
        ? Number.POSITIVE_INFINITY
        : atLeastNone(connectionMax / connectionMargin - hostConnections),
    jailUids: description.slotCount,
    memoryLimit: description.memoryLimit,
  };
}

/**
 * What a memory of this size takes at most when it is sealed. Its VMM writes 8 bytes with each page, sealing 21 with each 64 KiB, together less than a
 * hundredth; the devices are a few MiB at most.
 */
const sealedMemoryMib = (memoryMib: number) => Math.ceil(memoryMib * 1.01) + 8;

/** What tenants with these resources hold together. */
export function amountsOf(tenants: Iterable<Resources>, { memoryLimit }: Pick<HostCapacity, "memoryLimit">): Amounts {
  const sum = { vcpus: 0, memoryMib: 0, diskMib: 0, connections: 0 };
  for (const { vcpuCount, memoryMib, diskMib } of tenants) {
    sum.vcpus += vcpuCount;
    sum.memoryMib += Math.ceil(memoryMib * memoryLimit.perGuestMib + memoryLimit.besideMib);
    sum.diskMib += diskMib + sealedMemoryMib(memoryMib);
    sum.connections += connectionsPerTenant;
  }
  return sum;
}

/** Names of the amounts in HOST_FULL, in the order in which they are looked at. */
const names = { vcpus: "vcpus", memoryMib: "memory_mib", diskMib: "disk_mib", connections: "connections" } as const;

/** Throws HOST_FULL naming the first resource of which there is too little left, what is wanted of it, and what is left. */
export function requireRoom(capacity: HostCapacity, tenants: Iterable<Resources>, wanted: Resources): void {
  const held = amountsOf(tenants, capacity);
  const more = amountsOf([wanted], capacity);
  for (const name of Object.keys(names) as (keyof typeof names)[]) {
    const left = Math.max(0, capacity[name] - held[name]);
    if (more[name] > left) throw hostFull(names[name], more[name], left);
  }
}

/** Throws HOST_FULL when the launcher has no jail uid for the slot: it has fewer slots than `vm` was told. */
export function requireJailUid({ jailUids }: HostCapacity, slot: number): void {
  if (slot >= jailUids) throw hostFull("jail_uids", 1, 0);
}

export function hostFull(resource: string, wanted: number, left: number) {
  return fail("HOST_FULL", `this host has no room: ${resource}: ${wanted} wanted, ${left} left`, {
    metadata: { resource, wanted: String(wanted), left: String(left) },
  });
}

/** Who can be asked how much a host has. */
export interface MeasuredHost {
  readonly parts: Pick<HostParts, "vmm" | "readConnectionMax">;
  readonly files: Pick<SleepFiles, "sealedBytes">;
  readonly config: CapacityConfig;
}

/** Measures the host now. One question to the launcher; fails as that does. */
export async function measureCapacity({ parts, files, config }: MeasuredHost): Promise<HostCapacity> {
  // Before what is free is known: of a memory that is sealed meanwhile too little is counted, and not too much.
  const sealedBytes = await files.sealedBytes();
  const [description, connectionMax] = await Promise.all([parts.vmm.describe(), parts.readConnectionMax()]);
  return capacityOf(description, config, { sealedBytes, connectionMax });
}

/** The kernel's `nf_conntrack_max`; undefined when there is no such file. Throws when it holds no number. */
export async function readConnectionMax(path = connectionMaxPath): Promise<number | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw error;
  }
  if (!/^\d{1,15}\n?$/.test(text)) throw new Error(`${path} holds no number`);
  return Number(text);
}
