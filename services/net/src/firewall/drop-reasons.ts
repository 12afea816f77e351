/**
 * Why the host drops a packet of a tenant. Each is a mark that the dropping rule sets just before, so that one set counts by
 * link and reason; the mark is the place in this list, from 1. Only appended to: the numbers are in the kernel.
 */
export const dropReasons = [
  "not-ipv4",
  "spoofed",
  "sent-packets",
  "guest-to-host",
  "guest-to-guest",
  "invalid",
  "other-resolver",
  "denied-range",
  "egress-policy",
  "no-way-out",
  "connection-rate",
  "too-many-connections",
  "outside-to-guest",
  "too-many-inbound",
  "received-packets",
  "ip-options",
  "invalid-to-guest",
] as const;

export type DropReason = (typeof dropReasons)[number];

export function markOf(reason: DropReason): number {
  return dropReasons.indexOf(reason) + 1;
}
