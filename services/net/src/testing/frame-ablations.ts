import type { Ablation } from "./ablations.ts";
import { admitted, notDenied, outside } from "./clauses.ts";

/** Between two guests, or from a guest to a denied address, there is more than one rule on the host. */
const anotherGuest = {
  at: "host",
  rules: ["guest-to-guest", "denied-range", "no-way-out", "other-link"],
  weaken: [
    { rule: "internet", clause: notDenied },
    { rule: "opening", clause: outside },
    { rule: "connection-rate", clause: outside },
    { rule: "opened-now", clause: outside },
  ],
} as const;

/** What the attacks of `frame-attacks.ts` show when a control is taken away. */
export const frameAblations: readonly Ablation[] = [
  {
    at: "host",
    rules: ["spoofed"],
    weaken: [{ rule: "sending", clause: admitted }],
    shows: "10,000 forged sources at the host",
  },
  { at: "host", rules: ["arp-from-guest"], shows: "300 forged arp senders at the host" },
  { at: "host", rules: ["arp-from-guest"], shows: "arp probes for everybody else" },
  { at: "host", rules: ["guest-to-host"], policies: ["LOBSTER-INPUT"], shows: "replies that nobody asked for" },
  { at: "host", rules: ["guest-to-host"], policies: ["LOBSTER-INPUT"], shows: "multicast and broadcast" },
  { ...anotherGuest, shows: "fragments to another guest" },
  { at: "host", rules: ["ip-options"], shows: "options out of the host" },
  {
    at: "host",
    rules: ["outside-to-guest"],
    policies: ["LOBSTER-FORWARD"],
    shows: "neighbour on the uplink by every protocol",
  },
  { at: "slot", rules: ["not-ipv4"], policies: ["LOBSTER-INGRESS"], shows: "tags of every kind" },
  {
    at: "slot",
    rules: ["spoofed-address"],
    weaken: [{ rule: "ipv4", clause: "ip saddr 10.77.0.2" }],
    shows: "10,000 forged sources in the namespace",
  },
  {
    at: "slot",
    rules: ["forged-arp", "not-ipv4"],
    policies: ["LOBSTER-INGRESS"],
    shows: "300 forged arp senders in the namespace",
  },
  {
    at: "slot",
    rules: ["ip-options"],
    weaken: [{ rule: "ipv4", clause: "ip hdrlength 5" }],
    shows: "options out of the namespace",
  },
  {
    at: "slot",
    rules: ["to-namespace"],
    weaken: [{ rule: "ipv4", clause: "ip daddr != 10.77.0.1" }],
    shows: "fragments whose rest never comes, to the namespace",
  },
];
