import { hostRuleset } from "../firewall/host-ruleset.ts";
import { type Ruleset, ruleIds, withoutClause, withoutPolicy, withoutRule } from "../firewall/ruleset.ts";
import type { attacks } from "./attacks.ts";
import { admitted, notDenied, notForResolvers, notReachable, outside } from "./clauses.ts";
import { testConnectionLimit, world } from "./ground.ts";
import { wholeSlotRuleset } from "./guest.ts";
import { sceneNetworks } from "./scene.ts";
import type { counted, wanted } from "./wanted.ts";

/** A condition taken out of a rule. */
interface Weakening {
  readonly rule: string;
  readonly clause: string;
}

/**
 * One control taken away, and what then shows it: an attack that passes, wanted traffic that stops, or a reason that is not
 * counted any more. A control is often more than one rule: what drops and gives the reason, the condition of the rule that
 * accepts, and the policy behind both.
 */
export interface Ablation {
  readonly at: "host" | "slot";
  readonly rules: readonly string[];
  readonly weaken?: readonly Weakening[];
  /** Base chains whose policy becomes accept. */
  readonly policies?: readonly string[];
  readonly shows: Shown | readonly Shown[];
}

export type Shown = keyof typeof attacks | keyof typeof wanted | keyof typeof counted;

const raw = "LOBSTER-RAW";
const input = "LOBSTER-INPUT";
const forward = "LOBSTER-FORWARD";
const output = "LOBSTER-OUTPUT";

export const ablations: readonly Ablation[] = [
  { at: "host", rules: ["raw-of-others"], shows: "internet to host" },
  { at: "host", rules: ["not-ipv4", "sent-packets"], policies: [raw], shows: "ipv6 at the host" },
  {
    at: "host",
    rules: ["spoofed"],
    weaken: [{ rule: "sending", clause: admitted }],
    shows: ["forged source at the host", "10,000 forged sources at the host"],
  },
  {
    at: "host",
    rules: ["absent-sender", "spoofed", "sent-packets"],
    policies: [raw],
    shows: "slot without elements to anywhere",
  },
  { at: "host", rules: ["sending"], shows: "guest to the internet" },
  {
    at: "host",
    rules: ["sent-packets"],
    weaken: [{ rule: "sending", clause: "iifname @sending" }],
    shows: "flood of packets at the host",
  },
  { at: "host", rules: ["ip-options"], shows: "options out of the host" },
  {
    at: "host",
    rules: ["arp-from-guest"],
    shows: ["forged arp senders at the host", "300 forged arp senders at the host", "arp probes for everybody else"],
  },
  { at: "host", rules: ["input-of-others"], shows: "internet to host" },
  { at: "host", rules: ["reply"], shows: "host to guest" },
  { at: "host", rules: ["error-reply"], shows: "host learns of a closed port" },
  {
    at: "host",
    rules: [],
    weaken: [{ rule: "error-reply", clause: "iifname . ct reply ip saddr @reachable" }],
    shows: "errors about the host's connection with another guest",
  },
  { at: "host", rules: ["invalid-to-guest"], shows: "fragments whose rest never comes, to the host" },
  {
    at: "host",
    rules: ["guest-to-host"],
    policies: [input],
    shows: ["guest to host", "replies that nobody asked for", "multicast and broadcast"],
  },
  { at: "host", rules: ["drop-from-guest"], policies: [input], shows: "guest to host" },
  { at: "host", rules: ["drop-from-guest-count"], shows: "denied-range" },
  { at: "host", rules: ["forward-of-others"], shows: "internet to another network of the host" },
  { at: "host", rules: ["from-guest"], shows: "guest to the internet" },
  { at: "host", rules: ["answer-to-guest"], shows: "guest to the internet" },
  {
    at: "host",
    rules: ["outside-to-guest"],
    policies: [forward],
    shows: ["neighbour on the uplink to guest", "neighbour on the uplink by every protocol"],
  },
  {
    at: "host",
    rules: ["guest-to-guest", "denied-range", "no-way-out", "other-link"],
    weaken: [
      { rule: "internet", clause: notDenied },
      { rule: "opening", clause: outside },
      { rule: "connection-rate", clause: outside },
      { rule: "opened-now", clause: outside },
    ],
    shows: ["guest to guest at the host", "fragments to another guest"],
  },
  {
    at: "host",
    rules: ["invalid", "connection-rate", "no-way-out"],
    policies: [forward],
    shows: "invalid segment at the host",
  },
  { at: "host", rules: ["resolver"], shows: "guest asks its resolver" },
  {
    at: "host",
    rules: ["other-resolver"],
    weaken: [{ rule: "internet", clause: notForResolvers }],
    shows: "guest to another resolver",
  },
  {
    at: "host",
    rules: ["denied-range"],
    weaken: [{ rule: "internet", clause: notDenied }],
    shows: "denied ranges at the host",
  },
  { at: "host", rules: ["internet"], shows: "guest to the internet" },
  { at: "host", rules: ["internet-icmp"], shows: "guest pings the internet" },
  { at: "host", rules: ["listed"], shows: "listed guest to what its policy names" },
  { at: "host", rules: ["egress-policy"], policies: [forward], shows: "listed guest to elsewhere" },
  { at: "host", rules: ["opened"], shows: "guest to the internet" },
  { at: "host", rules: ["opening"], shows: "guest to the internet" },
  {
    at: "host",
    rules: ["connection-rate"],
    weaken: [{ rule: "opening", clause: "iifname @opening" }],
    shows: "flood of new connections at the host",
  },
  {
    at: "host",
    rules: ["no-way-out", "other-link", "absent-guest", "received-packets"],
    policies: [forward, output],
    shows: "guest to another network of the host",
  },
  { at: "host", rules: ["too-many-connections"], shows: "flood of connections at the host" },
  { at: "host", rules: ["opened-now"], shows: "guest to the internet" },
  { at: "host", rules: ["guest-by-other-link"], shows: "host to a guest whose link is gone" },
  { at: "host", rules: ["leaving"], shows: "guest to the internet" },
  { at: "host", rules: ["output-of-others"], shows: "internet to host" },
  {
    at: "host",
    rules: ["absent-guest"],
    weaken: [{ rule: "receiving", clause: "oifname . ip daddr @reachable oifname @receiving" }],
    shows: "host to a slot without elements",
  },
  {
    at: "host",
    rules: ["drop-to-guest"],
    policies: [output],
    shows: "flood of packets to a guest",
  },
  { at: "host", rules: ["drop-to-guest-count"], shows: "received-packets" },
  { at: "host", rules: ["too-many-inbound"], shows: "flood of connections to a guest" },
  { at: "host", rules: ["receiving"], shows: "host to guest" },
  {
    at: "host",
    rules: ["received-packets"],
    weaken: [{ rule: "receiving", clause: "oifname @receiving" }],
    shows: "flood of packets to a guest",
  },
  { at: "host", rules: ["masquerade"], shows: "inner address on the uplink" },
  {
    at: "slot",
    rules: ["spoofed-mac"],
    weaken: [{ rule: "ipv4", clause: "ether saddr 06:00:0a:4d:00:02" }],
    shows: "forged mac",
  },
  { at: "slot", rules: ["arp"], shows: "guest resolves its gateway" },
  {
    at: "slot",
    rules: ["forged-arp", "not-ipv4"],
    policies: ["LOBSTER-INGRESS"],
    shows: ["forged arp senders in the namespace", "300 forged arp senders in the namespace"],
  },
  { at: "slot", rules: ["not-ipv4"], policies: ["LOBSTER-INGRESS"], shows: ["tagged frames", "tags of every kind"] },
  {
    at: "slot",
    rules: ["protocol"],
    weaken: [{ rule: "ipv4", clause: "ip protocol { icmp, tcp, udp }" }],
    shows: "tunnelled protocol",
  },
  {
    at: "slot",
    rules: ["ip-options"],
    weaken: [{ rule: "ipv4", clause: "ip hdrlength 5" }],
    shows: ["ip options", "options out of the namespace"],
  },
  {
    at: "slot",
    rules: ["spoofed-address"],
    weaken: [{ rule: "ipv4", clause: "ip saddr 10.77.0.2" }],
    shows: ["forged address", "10,000 forged sources in the namespace"],
  },
  { at: "slot", rules: ["ipv4"], shows: "guest to the internet" },
  { at: "slot", rules: ["invalid"], shows: "invalid segment in the namespace" },
  { at: "slot", rules: ["too-many-connections"], shows: "flood of connections in the namespace" },
  { at: "slot", rules: ["in"], shows: "host to guest" },
  { at: "slot", rules: ["answer"], shows: "host to guest" },
  { at: "slot", rules: ["resolver"], shows: "guest asks its resolver" },
  { at: "slot", rules: ["out"], shows: "guest to the internet" },
  {
    at: "slot",
    rules: [],
    weaken: [{ rule: "out", clause: notReachable }],
    shows: "denied ranges in the namespace",
  },
  { at: "slot", rules: ["to-inner"], shows: "host to guest" },
  { at: "slot", rules: ["to-outer"], shows: "guest to the internet" },
  {
    at: "slot",
    rules: ["to-namespace"],
    weaken: [{ rule: "ipv4", clause: "ip daddr != 10.77.0.1" }],
    policies: ["LOBSTER-INPUT"],
    shows: "guest to its namespace",
  },
  {
    at: "slot",
    rules: ["to-namespace"],
    weaken: [{ rule: "ipv4", clause: "ip daddr != 10.77.0.1" }],
    shows: "fragments whose rest never comes, to the namespace",
  },
  { at: "slot", rules: [], policies: ["LOBSTER-FORWARD"], shows: "guest to itself by way of the namespace" },
];

/** Rules that only count, under a policy that drops. */
export const countersOnly = ["not-admitted", "guest-to-namespace", "denied-range"];

export const whole = {
  host: hostRuleset({
    uplinkInterface: world.uplink,
    resolverAddresses: [world.resolver],
    connectionLimit: testConnectionLimit,
    slotCount: 4,
    networks: sceneNetworks,
  }),
  slot: wholeSlotRuleset,
} as const satisfies Record<Ablation["at"], Ruleset>;

/** The ruleset that `ablation` leaves. */
export function ablated({ at, rules, weaken = [], policies = [] }: Ablation): Ruleset {
  const left = rules.reduce(withoutRule, whole[at]);
  const weaker = weaken.reduce((ruleset, { rule, clause }) => withoutClause(ruleset, rule, clause), left);
  return policies.reduce(withoutPolicy, weaker);
}

/** Rules that no ablation takes away. */
export function unproven(at: Ablation["at"]): string[] {
  const covered = new Set(ablations.filter((entry) => entry.at === at).flatMap(({ rules }) => rules));
  const ids = ruleIds(whole[at]).filter((id) => !covered.has(id));
  return at === "slot" ? ids.filter((id) => !countersOnly.includes(id)) : ids;
}
