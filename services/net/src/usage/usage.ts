import { fail } from "../errors.ts";
import type { ConnectionUse } from "./connections.ts";

/** What one network has carried since it was attached. `sent` is from the guest, `received` is to it. */
export interface Usage extends ConnectionUse {
  readonly receivedBytes: bigint;
  readonly sentBytes: bigint;
  readonly receivedPackets: bigint;
  readonly sentPackets: bigint;
  /** Connections tracked now, in either direction. */
  readonly trackedConnections: number;
  /** Dropped packets by stable reason; only reasons that dropped something. */
  readonly droppedPackets: ReadonlyMap<string, bigint>;
  /** Packets to the configured DNS servers. */
  readonly resolverPackets: bigint;
}

/** Reads the counters of a slot's links, rules, sets and queues. They begin with the slot's making, so with its tenant. */
export interface UsageReader {
  read(slot: number): Promise<Usage>;
}

/** In place of a reader where the kernel cannot be asked in process: a call is not worth six processes. */
export const unavailableUsage: UsageReader = {
  read: async () => {
    throw fail("USAGE_UNAVAILABLE", "this host counts, but net cannot read the counters: it runs without netlink");
  },
};
