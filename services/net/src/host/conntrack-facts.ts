import { openSync, readSync } from "node:fs";

/** The kernel's connection table, as it is in this process's network namespace. */
export interface ConntrackFacts {
  /** Most entries; the limit is the initial namespace's and holds in each namespace by itself. */
  readonly max: number;
  readonly count: number;
  readonly buckets: number;
  /** How long an established TCP connection is kept without a packet. */
  readonly establishedTimeoutSeconds: number;
}

const directory = "/proc/sys/net/netfilter";
const maxDigits = 32;

/**
 * Kept open, and read from their beginning each time. Looking such a file up by its path takes longer with every network namespace of the
 * machine, since each has one of that name: with a thousand it took half of an attach.
 */
const descriptors = new Map<string, number>();

/** Throws if the kernel tracks no connections. */
export function readConntrackFacts(): ConntrackFacts {
  return {
    max: read("nf_conntrack_max"),
    count: read("nf_conntrack_count"),
    buckets: read("nf_conntrack_buckets"),
    establishedTimeoutSeconds: read("nf_conntrack_tcp_timeout_established"),
  };
}

function read(name: string): number {
  const descriptor = descriptors.get(name) ?? openSync(`${directory}/${name}`, "r");
  descriptors.set(name, descriptor);
  const into = Buffer.alloc(maxDigits);
  const value = Number(into.toString("latin1", 0, readSync(descriptor, into, 0, maxDigits, 0)));
  if (!Number.isSafeInteger(value)) throw new Error(`${directory}/${name} is not a number`);
  return value;
}
