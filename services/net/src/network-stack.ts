import type { DatabaseSync } from "node:sqlite";
import type { Logger } from "@lobsterd/chassis/logger.ts";
import type { NetConfig } from "./config.ts";
import type { NetEvents } from "./events.ts";
import type { Drift } from "./firewall/drift.ts";
import { type Firewall, openFirewall } from "./firewall/firewall.ts";
import { endFlows } from "./host/flows.ts";
import { enableForwarding } from "./host/namespace.ts";
import type { ProcessRunner } from "./host/process.ts";
import { createKeyedSerial } from "./host/serial.ts";
import { type NetworkStore, openNetworkStore } from "./networks/network-store.ts";
import { createNetworks, type Networks } from "./networks/networks.ts";
import { createReconciler } from "./reconcile/reconcile.ts";
import { planSlot } from "./slots/address-plan.ts";
import { openSlotBuilder } from "./slots/slot-builder.ts";
import { createSlotPool, type SlotPool } from "./slots/slot-pool.ts";

export type StackConfig = Pick<
  NetConfig,
  "netnsDir" | "slotCount" | "jailUidBase" | "uplinkInterface" | "connectionLimit" | "slotReadyTimeoutMs"
>;

/** The domain without its server: what a test drives directly. */
export interface NetworkStack {
  readonly store: NetworkStore;
  readonly networks: Networks;
  readonly pool: SlotPool;
  readonly firewall: Firewall;
  reconcile(): Promise<readonly Drift[]>;
}

export interface StackOptions {
  readonly config: StackConfig;
  readonly runner: ProcessRunner;
  readonly database: DatabaseSync;
  readonly events: NetEvents;
  readonly logger: Logger;
  readonly now: () => number;
}

/**
 * Opens the stack and makes the host what the store says. On return the rules are in force and every attached slot is whole; idle
 * slots are made by `pool.fill`.
 */
export async function openNetworkStack(options: StackOptions): Promise<NetworkStack> {
  const { config, runner, database, events, logger, now } = options;
  const { netnsDir, slotCount, uplinkInterface, connectionLimit } = config;
  const store = openNetworkStore(database);
  const retired = store.retired();
  const unclean = new Set(retired.map(({ slot }) => slot));
  const attached = store.all().filter(({ slot }) => slot < slotCount);
  const clean = attached.filter(({ slot }) => !unclean.has(slot));

  const scratchPath = `${netnsDir}/scratch`;
  const builder = await openSlotBuilder(runner, config, scratchPath);
  const firewall = await openFirewall(
    runner,
    { uplinkInterface, connectionLimit, slotCount },
    scratchPath,
    clean.map(({ slot }) => slot),
  );
  if (uplinkInterface !== undefined) await enableForwarding(runner);
  const operations = createKeyedSerial<number>();
  const pool = createSlotPool(builder, config, logger);
  const networks = createNetworks({ runner, store, firewall, pool, operations, events, slotCount, now });
  const reconcile = createReconciler({
    runner,
    store,
    firewall,
    builder,
    pool,
    operations,
    events,
    slotCount,
    netnsDir,
  });

  await reconcile();
  for (const { slot } of clean) pool.adopt(slot);
  for (const { slot } of retired) {
    // The process may have ended between the cut and the end of the flows.
    await endFlows(runner, planSlot(slot).guestAddress);
    pool.retire(slot, () => store.clearRetired(slot));
  }
  // Recorded, but its slot was still being made anew: nobody was told of success, and the record is made true.
  for (const { vmId, slot } of attached.filter(({ slot }) => unclean.has(slot))) await networks.attach(vmId, slot);
  return { store, networks, pool, firewall, reconcile };
}
