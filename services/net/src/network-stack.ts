import type { DatabaseSync } from "node:sqlite";
import { every } from "@lobsterd/chassis/lifecycle.ts";
import type { Logger } from "@lobsterd/chassis/logger.ts";
import type { NetConfig } from "./config.ts";
import type { NetEvents } from "./events.ts";
import type { Drift } from "./firewall/drift.ts";
import { type Firewall, openFirewall } from "./firewall/firewall.ts";
import { type ConntrackFacts, readConntrackFacts } from "./host/conntrack-facts.ts";
import { listHostAddresses } from "./host/host-addresses.ts";
import { enableForwarding, expireConnections } from "./host/namespace.ts";
import type { ProcessRunner } from "./host/process.ts";
import { createKeyedSerial, createSerial } from "./host/serial.ts";
import { openKernelAccess } from "./kernel-access.ts";
import { type NetworkStore, openNetworkStore } from "./networks/network-store.ts";
import { createNetworks, type Networks } from "./networks/networks.ts";
import { createReconciler } from "./reconcile/reconcile.ts";
import { planSlot } from "./slots/address-plan.ts";
import { createShaper, requireTokenBucket } from "./slots/shaper.ts";
import { openSlotBuilder } from "./slots/slot-builder.ts";
import { createSlotPool, type SlotPool } from "./slots/slot-pool.ts";
import type { UsageReader } from "./usage/usage.ts";

export type StackConfig = Pick<
  NetConfig,
  | "netnsDir"
  | "slotCount"
  | "jailUidBase"
  | "uplinkInterface"
  | "resolverAddresses"
  | "connectionLimit"
  | "defaultLimits"
  | "addressQuarantineMs"
  | "slotReadyTimeoutMs"
  | "kernelAccess"
>;

/** The domain without its server: what a test drives directly. */
export interface NetworkStack {
  readonly store: NetworkStore;
  readonly networks: Networks;
  readonly pool: SlotPool;
  readonly firewall: Firewall;
  readonly usage: UsageReader;
  /** Reads the namespace of `slot` back as well, whoever's turn it is. */
  reconcile(slot?: number): Promise<readonly Drift[]>;
  /** Until `signal` aborts: compares, fills the pool, and compares at once when somebody else changed a rule. */
  keep(options: { readonly reconcileIntervalMs: number; readonly signal: AbortSignal }): void;
  /** Lets go of the kernel; nothing on the host changes. */
  close(): void;
}

/** NET-02: how soon a foreign change of the rules is noticed. The question costs microseconds; the comparison only follows a yes. */
const watchIntervalMs = 100;

export interface StackOptions {
  readonly config: StackConfig;
  readonly runner: ProcessRunner;
  readonly database: DatabaseSync;
  readonly events: NetEvents;
  readonly logger: Logger;
  readonly now: () => number;
  readonly conntrack?: () => ConntrackFacts;
  /** File of the host's network namespace, where it is not this process's own. */
  readonly hostNamespace?: string;
}

/**
 * Opens the stack and makes the host what the store says. On return the rules are in force and every attached slot is whole; idle
 * slots are made by `pool.fill`.
 */
export async function openNetworkStack(options: StackOptions): Promise<NetworkStack> {
  const { config, runner, database, events, logger, now, conntrack = readConntrackFacts } = options;
  const { netnsDir, slotCount, defaultLimits } = config;
  const store = openNetworkStore(database);
  const retired = store.retired();
  const unclean = new Set(retired.map(({ slot }) => slot));
  const attached = store.all().filter(({ slot }) => slot < slotCount);
  const clean = attached.filter(({ slot }) => !unclean.has(slot));

  const { hostNamespace } = options;
  const kernel = openKernelAccess({ runner, config, logger, hostNamespace });
  const { elements, flows, usage } = kernel;
  const scratchPath = `${netnsDir}/scratch`;
  await requireTokenBucket(runner, scratchPath);
  const shaper = createShaper(runner, netnsDir);
  const hostAddresses = await listHostAddresses(runner);
  const builder = await openSlotBuilder(runner, shaper, { ...config, hostAddresses }, scratchPath);
  const firewall = await openFirewall({ runner, elements, options: config, scratchPath, admitted: clean });
  await expireConnections(runner);
  if (config.uplinkInterface !== undefined) await enableForwarding(runner);
  const operations = createKeyedSerial<number>();
  const pool = createSlotPool(builder, config, logger);
  const networks = createNetworks({
    ...{ store, firewall, pool, shaper, flows, operations, events, conntrack, now, defaultLimits },
    limits: config,
  });
  const reconcileNow = createReconciler({
    ...{
      runner,
      store,
      firewall,
      builder,
      pool,
      shaper,
      flows,
      operations,
      events,
      slotCount,
      netnsDir,
      defaultLimits,
    },
  });
  const reconciling = createSerial();

  await reconcileNow();
  for (const { slot } of clean) pool.adopt(slot);
  for (const { slot } of retired) {
    // The process may have ended between the cut and the end of the flows.
    await flows.endAll(planSlot(slot).guestAddress);
    pool.retire(slot, () => store.clearRetired(slot));
  }
  // Recorded, but its slot was still being made anew: nobody was told of success, and the record is made true.
  for (const network of attached.filter(({ slot }) => unclean.has(slot))) await networks.attach(network);
  const reconcile = (slot?: number): Promise<readonly Drift[]> => reconciling.run(() => reconcileNow(slot));
  return {
    ...{ store, networks, pool, firewall, usage, reconcile },
    keep({ reconcileIntervalMs, signal }) {
      const background = { signal, logger };
      every(reconcileIntervalMs, "reconcile", async () => void (await reconcile()), background);
      every(reconcileIntervalMs, "fill pool", () => pool.fill(signal), background);
      let restUntil = 0;
      const watch = async (): Promise<void> => {
        if (performance.now() < restUntil || !firewall.wasChangedElsewhere()) return;
        // What cannot be repaired is tried again, but not ten times a second.
        restUntil = performance.now() + reconcileIntervalMs;
        await reconcile();
        restUntil = 0;
      };
      every(watchIntervalMs, "watch rules", watch, background);
    },
    close: () => kernel[Symbol.dispose](),
  };
}
