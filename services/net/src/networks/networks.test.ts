import assert from "node:assert/strict";
import { test } from "node:test";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { createKeyedSerial } from "../host/serial.ts";
import { usual } from "../testing/ground.ts";
import { migrations, openNetworkStore } from "./network-store.ts";
import { createNetworks } from "./networks.ts";

const vmId = "a".repeat(32);

/** Networks over a kernel that ends flows when it is told to. */
function open() {
  const trail: string[] = [];
  const admitted = new Set<number>();
  const ending: Array<() => void> = [];
  const store = openNetworkStore(openDatabase(":memory:", migrations));
  const networks = createNetworks({
    store,
    firewall: {
      async admit({ slot }) {
        trail.push(`admit ${slot}`);
        admitted.add(slot);
      },
      async cut(slot) {
        trail.push(`cut ${slot}`);
        admitted.delete(slot);
      },
      isAdmitted: (slot) => admitted.has(slot),
      wasChangedElsewhere: () => false,
      reconcile: async () => ({ drifts: [], foreign: [] }),
    },
    pool: {
      ready: async () => undefined,
      retire: (slot) => void trail.push(`retire ${slot}`),
      adopt: () => undefined,
      invalidate: () => undefined,
      isWarm: () => false,
      warm: () => new Map(),
      fill: async () => undefined,
    },
    shaper: {
      shape: async () => undefined,
      shapeLinks: async () => undefined,
      shapeUplink: async () => undefined,
      misshapenLinks: async () => [],
      isUplinkShaped: async () => true,
    },
    flows: {
      endAll: () => new Promise<void>((resolve) => ending.push(resolve)),
      endForbidden: async () => undefined,
    },
    operations: createKeyedSerial<number>(),
    events: {
      networkAttached: () => undefined,
      networkDetached: () => undefined,
      egressUpdated: () => undefined,
      limitsUpdated: () => undefined,
      driftRepaired: () => undefined,
    },
    conntrack: () => ({ max: 262_144 }),
    limits: { slotCount: 4, connectionLimit: 1024, addressQuarantineMs: 0 },
    defaultLimits: usual.limits,
    now: () => 1,
  });
  return { networks, store, trail, endNext: () => ending.shift()?.() };
}

test("calls for a slot that a microVM left do nothing to the one that it has got since", async () => {
  const { networks, store, trail, endNext } = open();
  await networks.attach({ vmId, slot: 0, ...usual });
  const detached = networks.detach(vmId);
  const again = networks.detach(vmId);
  const changed = networks.updateEgress(vmId, { mode: "none" });
  await networks.attach({ vmId, slot: 1, ...usual });
  const refused = assert.rejects(changed, /has no network/);
  endNext();
  await detached;
  // The repetition cuts the old slot again.
  for (let turn = 0; turn < 100 && trail.at(-1) !== "cut 0"; turn += 1) await new Promise(setImmediate);
  endNext();
  await Promise.all([again, refused]);
  assert.deepEqual(trail, ["admit 0", "cut 0", "admit 1", "retire 0", "cut 0"]);
  assert.deepEqual(
    store.all().map(({ slot, egress }) => ({ slot, egress })),
    [{ slot: 1, egress: { mode: "internet" } }],
  );
});
