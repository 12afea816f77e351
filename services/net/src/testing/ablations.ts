import { hostRuleset } from "../firewall/host-ruleset.ts";
import { type Ruleset, ruleIds, withoutPolicy, withoutRule } from "../firewall/ruleset.ts";
import { slotRuleset } from "../firewall/slot-ruleset.ts";
import type { attacks, wanted } from "./attacks.ts";
import { world } from "./ground.ts";

/** One control taken away, and what then shows it: an attack that passes, or wanted traffic that stops. */
export interface Ablation {
  readonly at: "host" | "slot";
  /** Rules, and base chains whose policy becomes accept. More than one where several rules hold off the same thing. */
  readonly rules: readonly string[];
  readonly policies?: readonly string[];
  readonly shows: keyof typeof attacks | keyof typeof wanted;
}

export const ablations: readonly Ablation[] = [
  { at: "host", rules: ["from-guest-raw"], shows: "forged source at the host" },
  { at: "host", rules: ["not-ipv4"], shows: "ipv6 at the host" },
  { at: "host", rules: ["spoofed"], shows: "forged source at the host" },
  { at: "host", rules: ["spoofed"], shows: "slot without elements to anywhere" },
  { at: "host", rules: ["arp-from-guest"], shows: "forged arp senders at the host" },
  { at: "host", rules: ["not-from-guest"], shows: "internet to host" },
  { at: "host", rules: ["reply"], shows: "host to guest" },
  { at: "host", rules: ["error-reply"], shows: "host learns of a closed port" },
  { at: "host", rules: ["guest-to-host"], shows: "guest to host" },
  { at: "host", rules: ["from-guest"], shows: "guest to denied ranges" },
  { at: "host", rules: ["to-guest"], shows: "neighbour on the uplink to guest" },
  { at: "host", rules: ["guest-to-guest", "denied-range", "no-way-out", "outside-to-guest"], shows: "guest to guest" },
  { at: "host", rules: ["denied-range"], shows: "guest to denied ranges" },
  { at: "host", rules: ["invalid"], shows: "invalid segment at the host" },
  { at: "host", rules: ["too-many-connections"], shows: "flood of connections at the host" },
  { at: "host", rules: ["to-outside"], shows: "guest to the internet" },
  { at: "host", rules: ["no-way-out"], shows: "guest to another network of the host" },
  { at: "host", rules: ["answer-to-guest"], shows: "guest to the internet" },
  { at: "host", rules: ["outside-to-guest"], shows: "neighbour on the uplink to guest" },
  { at: "host", rules: ["not-to-guest"], shows: "internet to host" },
  { at: "host", rules: ["admitted"], shows: "host to guest" },
  { at: "host", rules: ["to-absent-guest"], shows: "host to a slot without elements" },
  { at: "host", rules: ["masquerade"], shows: "inner address on the uplink" },
  { at: "slot", rules: ["spoofed-mac"], shows: "forged mac" },
  { at: "slot", rules: [], policies: ["LOBSTER-INGRESS"], shows: "tagged frames" },
  { at: "slot", rules: ["arp"], shows: "guest resolves its gateway" },
  { at: "slot", rules: ["protocol"], shows: "tunnelled protocol" },
  { at: "slot", rules: ["ipv4"], shows: "guest to the internet" },
  { at: "slot", rules: ["invalid"], shows: "invalid segment in the namespace" },
  { at: "slot", rules: ["too-many-connections"], shows: "flood of connections in the namespace" },
  { at: "slot", rules: ["out"], shows: "guest to the internet" },
  { at: "slot", rules: ["in"], shows: "host to guest" },
  { at: "slot", rules: ["to-inner"], shows: "host to guest" },
  { at: "slot", rules: ["to-outer"], shows: "guest to the internet" },
  { at: "slot", rules: [], policies: ["LOBSTER-INGRESS"], shows: "forged address" },
  { at: "slot", rules: [], policies: ["LOBSTER-INGRESS"], shows: "forged arp senders in the namespace" },
  { at: "slot", rules: [], policies: ["LOBSTER-INPUT"], shows: "guest to its namespace" },
  { at: "slot", rules: [], policies: ["LOBSTER-FORWARD"], shows: "guest to itself by way of the namespace" },
];

/** Rules that only count, under a policy that drops. */
export const countersOnly = ["not-admitted", "guest-to-namespace"];

export const whole = {
  host: hostRuleset({ uplinkInterface: world.uplink, connectionLimit: 1024, slotCount: 4, slots: [0, 1] }),
  slot: slotRuleset({ connectionLimit: 1024 }),
} as const satisfies Record<Ablation["at"], Ruleset>;

/** The ruleset that `ablation` leaves. */
export function ablated({ at, rules, policies = [] }: Ablation): Ruleset {
  const left = rules.reduce(withoutRule, whole[at]);
  return policies.reduce(withoutPolicy, left);
}

/** Rules that no ablation takes away. */
export function unproven(at: Ablation["at"]): string[] {
  const covered = new Set(ablations.filter((entry) => entry.at === at).flatMap(({ rules }) => rules));
  return ruleIds(whole[at]).filter((id) => !covered.has(id) && !countersOnly.includes(id));
}
