import { type Egress, type EgressRule, type Protocol, protocolNumbers } from "../networks/policy.ts";
import { type AddressRange, isDenied, parseRange, union, without } from "./ranges.ts";

const lastPort = 65_535;

/** DNS and DNS over TLS. They go to the configured resolvers alone. */
export const resolverPorts = [53, 853] as const;

/** Destinations of one protocol: an address range and a port range. */
export interface Destinations {
  readonly protocol: number;
  readonly addresses: AddressRange;
  readonly firstPort: number;
  readonly lastPort: number;
}

/**
 * What `rules` allow, as destinations that do not overlap: the kernel refuses elements of an interval set that do. At most
 * three per rule and protocol.
 */
export function destinationsOf(rules: readonly EgressRule[]): Destinations[] {
  return (["tcp", "udp"] as const).flatMap((protocol) => {
    const covered = rules.filter((rule) => rule.protocol === undefined || rule.protocol === protocol);
    const everyPort = rangesOf(covered, undefined);
    const ports = new Set(covered.flatMap(({ port }) => (port === undefined ? [] : [port])));
    return [
      ...everyPort.map((addresses) => box(protocol, addresses, 0, lastPort)),
      ...[...ports].flatMap((port) =>
        without(rangesOf(covered, port), everyPort).map((addresses) => box(protocol, addresses, port, port)),
      ),
    ];
  });
}

/** Index of the first rule that could never match, since all of it is denied; `undefined` if there is none. */
export function firstDeniedRule(egress: Egress): number | undefined {
  if (egress.mode !== "list") return undefined;
  const index = egress.rules.findIndex(({ cidr }) => isDenied(parseRange(cidr)));
  return index < 0 ? undefined : index;
}

/** A connection as its first packet names it: protocol number, dotted destination address, port (0 where there is none). */
export interface OutboundConnection {
  readonly protocol: number;
  readonly address: string;
  readonly port: number;
}

/** Whether the firewall lets a guest with this policy open `connection`; the same decision as the rules' own. */
export function permits(egress: Egress, resolvers: readonly string[], connection: OutboundConnection): boolean {
  const { protocol, address, port } = connection;
  if (egress.mode === "none") return false;
  const hasPorts = protocol === protocolNumbers.tcp || protocol === protocolNumbers.udp;
  if (hasPorts && resolverPorts.some((resolverPort) => resolverPort === port)) return resolvers.includes(address);
  const destination = parseRange(address);
  if (isDenied(destination)) return false;
  if (egress.mode === "internet") return true;
  return destinationsOf(egress.rules).some(
    (allowed) =>
      allowed.protocol === protocol &&
      allowed.addresses.first <= destination.first &&
      destination.last <= allowed.addresses.last &&
      allowed.firstPort <= port &&
      port <= allowed.lastPort,
  );
}

function rangesOf(rules: readonly EgressRule[], port: number | undefined): AddressRange[] {
  return union(rules.filter((rule) => rule.port === port).map(({ cidr }) => parseRange(cidr)));
}

function box(protocol: Protocol, addresses: AddressRange, firstPort: number, last: number): Destinations {
  return { protocol: protocolNumbers[protocol], addresses, firstPort, lastPort: last };
}
