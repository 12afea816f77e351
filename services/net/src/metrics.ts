import { defineMetrics } from "@lobsterd/chassis/metrics.ts";
import { driftKinds } from "./firewall/drift.ts";
import { dropReasons } from "./firewall/drop-reasons.ts";
import { slotRuleset } from "./firewall/slot-ruleset.ts";

/** What a slot's own rules count, whatever their options. */
const slotDropReasons = slotRuleset({ connectionLimit: 1, resolverAddresses: [], hostAddresses: [] })
  .flatMap(({ chains }) => chains.flatMap(({ rules }) => rules))
  .filter(({ text }) => /\bcounter\b/.test(text))
  .map(({ id }) => id);

/** Every reason a packet of a tenant can be dropped for, on the host, in its slot or in a queue. */
export const allDropReasons: readonly string[] = [
  ...new Set([...dropReasons, ...slotDropReasons, "sent-bandwidth", "received-bandwidth"]),
];

/** What `net` exports beside what every service does. It knows no tenant's name, and a slot is not a label either. */
export const netMetrics = defineMetrics({
  drops: {
    name: "lobsterd.net.drops",
    kind: "observable-counter",
    unit: "{packet}",
    description: "Packets of guests and to guests that were dropped, by reason",
    attributes: { reason: allDropReasons },
  },
  drift: {
    name: "lobsterd.net.drift_repaired",
    kind: "counter",
    unit: "{difference}",
    description: "Differences between the host's network and what it should be, repaired, by kind",
    attributes: { kind: driftKinds },
  },
  slots: {
    name: "lobsterd.net.slots",
    kind: "gauge",
    unit: "{slot}",
    description: "Slots with a tenant, those that are ready for one, and those that are being made",
    attributes: { state: ["attached", "warm", "cold"] },
  },
  connections: {
    name: "lobsterd.net.tracked_connections",
    kind: "gauge",
    unit: "{connection}",
    description:
      "The kernel's connection table in the network namespace of the host: entries, and the most there can be",
    attributes: { what: ["held", "limit"] },
  },
});
