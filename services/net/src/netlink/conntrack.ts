import { afterHeader, attribute, attributesByType, nested } from "./message.ts";
import { nfgen, nfgenBytes } from "./nfnetlink.ts";
import { isRefusal, NetlinkRefused, type NetlinkSocket, NetlinkUnanswered, type Request } from "./socket.ts";
import { ipv4Bytes, native32, readBig16, readBig32, readIpv4, sized } from "./values.ts";

/** One direction of a connection: where its packets come from and go to. */
export interface Tuple {
  /** IANA number: 6 is TCP, 17 is UDP. */
  readonly protocol: number;
  readonly source: string;
  readonly destination: string;
  /** Only of protocols that have ports. */
  readonly sourcePort?: number;
  readonly destinationPort?: number;
}

/** A tracked IPv4 connection. */
export interface Connection {
  /** Of its first packet, before any translation. */
  readonly original: Tuple;
  /** Of the answers, as they arrive. */
  readonly reply: Tuple;
  /** What the kernel needs to tell it from a later one of the same tuple. Opaque. */
  readonly identity: Buffer;
  /** After how long without a packet it is forgotten. */
  readonly secondsLeft?: number;
  /** Of TCP: enum tcp_conntrack. */
  readonly tcpState?: number;
}

/** An address of the original direction. */
export type ConnectionFilter = { readonly source: string } | { readonly destination: string };

const getConnection = (1 << 8) | 1;
const deleteRequest = (1 << 8) | 2;
const getStatistics = (1 << 8) | 5;
const ipv4 = 2;
/** Makes the kernel apply the family to a deletion by filter, which it needs to read addresses. */
const version = 1;

const tupleOriginal = 1;
const tupleReply = 2;
const protocolInfo = 4;
const protocolInfoTcp = 1;
const tcpInfoState = 1;
const timeLeft = 7;
const connectionId = 12;
const connectionZone = 18;
const connectionFilter = 25;
const filterOriginalFlags = 1;
const filterReplyFlags = 2;
const filterSource = 1;
const filterDestination = 2;
const tupleAddresses = 1;
const tupleProtocol = 2;
const addressSource = 1;
const addressDestination = 2;
const protocolNumber = 1;
const protocolSourcePort = 2;
const protocolDestinationPort = 3;
const statisticsEntries = 1;

/**
 * Forgets every connection of this source or destination, and returns when that is done. Safe to repeat. A kernel before 6.3
 * cannot delete by address; there, those listed at one moment are deleted one by one.
 */
export function deleteConnections(socket: NetlinkSocket, filter: ConnectionFilter): void {
  try {
    // A kernel that does not know the filter takes what is left for half a tuple and refuses: it never deletes more.
    socket.request(filtered(deleteRequest, filter));
  } catch (error) {
    if (!isRefusal(error, "EINVAL", "EOPNOTSUPP")) throw error;
    deleteListed(socket, filter);
  }
}

/** The way of old kernels, in the open for its test. */
export function deleteListed(socket: NetlinkSocket, filter: ConnectionFilter): void {
  const requests = dumpConnections(socket, filter).map(deletion);
  for (const result of socket.pipeline(requests)) {
    if (result instanceof NetlinkRefused && !isRefusal(result, "ENOENT")) throw result;
  }
}

/** Forgets one connection: whether it was still there. */
export function deleteConnection(socket: NetlinkSocket, connection: Connection): boolean {
  try {
    socket.request(deletion(connection));
    return true;
  } catch (error) {
    if (isRefusal(error, "ENOENT")) return false;
    throw error;
  }
}

/** Tracked IPv4 connections. Not of one moment: others come and go meanwhile. */
export function dumpConnections(socket: NetlinkSocket, filter?: ConnectionFilter): Connection[] {
  const request: Request =
    filter === undefined ? { type: getConnection, flags: 0, payload: nfgen(ipv4) } : filtered(getConnection, filter);
  return socket.dump(request).map(({ payload }) => decodeConnection(payload));
}

/** Number of connections tracked in the socket's namespace, of every family. */
export function countConnections(socket: NetlinkSocket): number {
  const [reply] = socket.request({ type: getStatistics, flags: 0, payload: nfgen(0) });
  if (reply === undefined) throw new NetlinkUnanswered("no statistics of connections");
  return readBig32(attributesByType(afterHeader(reply.payload, nfgenBytes)).get(statisticsEntries));
}

/** `payload`: of one IPCTNL_MSG_CT_NEW. */
export function decodeConnection(payload: Buffer): Connection {
  const attributes = attributesByType(afterHeader(payload, nfgenBytes));
  const identity = [tupleOriginal, connectionId, connectionZone].flatMap((type) => {
    const value = attributes.get(type);
    return value === undefined ? [] : [attribute(type === tupleOriginal ? type | 0x8000 : type, value)];
  });
  const left = attributes.get(timeLeft);
  const state = attributesIn(attributesIn(attributes.get(protocolInfo)).get(protocolInfoTcp)).get(tcpInfoState);
  return {
    original: decodeTuple(attributes.get(tupleOriginal)),
    reply: decodeTuple(attributes.get(tupleReply)),
    identity: Buffer.concat(identity),
    ...(left === undefined ? {} : { secondsLeft: readBig32(left) }),
    ...(state === undefined ? {} : { tcpState: sized(state, 1).readUInt8() }),
  };
}

function attributesIn(bytes: Buffer | undefined) {
  return attributesByType(bytes ?? Buffer.alloc(0));
}

function decodeTuple(bytes: Buffer | undefined): Tuple {
  const attributes = attributesIn(bytes);
  const addresses = attributesIn(attributes.get(tupleAddresses));
  const protocol = attributesIn(attributes.get(tupleProtocol));
  const sourcePort = protocol.get(protocolSourcePort);
  const destinationPort = protocol.get(protocolDestinationPort);
  return {
    protocol: sized(protocol.get(protocolNumber), 1).readUInt8(),
    source: readIpv4(addresses.get(addressSource)),
    destination: readIpv4(addresses.get(addressDestination)),
    ...(sourcePort === undefined ? {} : { sourcePort: readBig16(sourcePort) }),
    ...(destinationPort === undefined ? {} : { destinationPort: readBig16(destinationPort) }),
  };
}

function deletion({ identity }: Connection): Request {
  return { type: deleteRequest, flags: 0, payload: Buffer.concat([nfgen(ipv4, 0, version), identity]) };
}

function filtered(type: number, filter: ConnectionFilter): Request {
  const bySource = "source" in filter;
  const address = bySource
    ? attribute(addressSource, ipv4Bytes(filter.source))
    : attribute(addressDestination, ipv4Bytes(filter.destination));
  const payload = Buffer.concat([
    nfgen(ipv4, 0, version),
    nested(tupleOriginal, nested(tupleAddresses, address)),
    nested(
      connectionFilter,
      attribute(filterOriginalFlags, native32(bySource ? filterSource : filterDestination)),
      attribute(filterReplyFlags, native32(0)),
    ),
  ]);
  return { type, flags: 0, payload };
}
