import { readFileSync } from "node:fs";

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
  const value = Number(readFileSync(`${directory}/${name}`, "utf8"));
  if (!Number.isSafeInteger(value)) throw new Error(`${directory}/${name} is not a number`);
  return value;
}
