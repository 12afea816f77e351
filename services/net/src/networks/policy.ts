/** Protocols that a rule can name, by their number in the IPv4 header. */
export const protocolNumbers = { tcp: 6, udp: 17 } as const;
export type Protocol = keyof typeof protocolNumbers;

/** Destinations that a guest may open connections to. */
export interface EgressRule {
  /** IPv4 prefix without host bits. */
  readonly cidr: string;
  /** `undefined`: every port. */
  readonly port: number | undefined;
  /** `undefined`: TCP and UDP. */
  readonly protocol: Protocol | undefined;
}

/** What a guest may reach: every public address, nothing, or what the rules name. It only narrows what the firewall lets through. */
export type Egress =
  | { readonly mode: "internet" }
  | { readonly mode: "none" }
  | { readonly mode: "list"; readonly rules: readonly EgressRule[] };

/** How much a guest may send and receive; kilobits and packets per second. */
export interface Limits {
  readonly sentKbits: number;
  readonly receivedKbits: number;
  readonly sentPackets: number;
  readonly receivedPackets: number;
}
