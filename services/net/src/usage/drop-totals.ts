import type { NetworkRecord, NetworkStore } from "../networks/network-store.ts";
import type { Usage } from "./usage.ts";

/** Slots are read in turn, this many at a time: each costs two sockets in its namespace. */
const slotsPerRead = 32;

type Counts = ReadonlyMap<string, bigint>;

/**
 * Totals of dropped packets by reason over all tenants there were, from counters that begin anew with every tenant and end with it. What a
 * slot counted between its last reading and its end is not in them.
 */
export function createDropTotals({
  store,
  usage,
  reasons,
}: {
  readonly store: Pick<NetworkStore, "all">;
  /** Reasons that have a total from the beginning. */
  readonly reasons: readonly string[];
  readonly usage: { read(slot: number): Promise<Pick<Usage, "droppedPackets">> };
}): () => Promise<Counts> {
  const totals = new Map<string, bigint>(reasons.map((reason) => [reason, 0n]));
  let last = new Map<string, Counts>();
  let next = 0;

  function add(network: NetworkRecord, counts: Counts): void {
    const before = last.get(network.vmId);
    for (const [reason, count] of counts) {
      const earlier = before?.get(reason) ?? 0n;
      // Lower than before: the slot's link was made anew, and its counters with it.
      const more = count < earlier ? count : count - earlier;
      totals.set(reason, (totals.get(reason) ?? 0n) + more);
    }
    last.set(network.vmId, counts);
  }

  return async () => {
    const networks = store.all();
    const present = new Set(networks.map(({ vmId }) => vmId));
    last = new Map([...last].filter(([vmId]) => present.has(vmId)));
    const count = Math.min(slotsPerRead, networks.length);
    for (let step = 0; step < count; step += 1) {
      const network = networks[(next + step) % networks.length];
      if (network === undefined) continue;
      // A slot that is being made anew cannot be read; its turn comes again.
      const read = await usage.read(network.slot).catch(() => undefined);
      if (read !== undefined) add(network, read.droppedPackets);
    }
    next += count;
    return totals;
  };
}
