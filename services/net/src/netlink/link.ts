import { afterHeader, attribute, attributesByType } from "./message.ts";
import { getLink, linkBytes, linkHeader, nameAttribute, requestLink } from "./rtnetlink.ts";
import { isRefusal, type NetlinkSocket } from "./socket.ts";
import { native32, readMac, readNative32, readNative64, readText } from "./values.ts";

export interface Link {
  readonly name: string;
  /** The kernel's number of the link. */
  readonly index: number;
  /** Whether it is set up by its administrator; it may still lack a carrier. */
  readonly isUp: boolean;
  /** Only of links whose hardware address has six bytes. */
  readonly hardwareAddress?: string;
  /** 0 unless it was put into a group. */
  readonly group: number;
}

/** Since the link was made, seen from the link: what it received came from the other end. */
export interface LinkStatistics {
  readonly receivedPackets: bigint;
  readonly sentPackets: bigint;
  readonly receivedBytes: bigint;
  readonly sentBytes: bigint;
  readonly receivedDropped: bigint;
  readonly sentDropped: bigint;
}

const deleteLink = 17;
const addressAttribute = 1;
const statisticsAttribute = 23;
const groupAttribute = 27;
const wantedAttribute = 29;
const skipStatistics = 1 << 3;
const flagUp = 1;
const macLength = 6;
const statisticsBytes = 64;

/** A link of the socket's namespace with its statistics; `undefined` if there is none of this name. `socket`: of `protocols.route`. */
export function readLink(socket: NetlinkSocket, name: string): (Link & { statistics: LinkStatistics }) | undefined {
  const payload = requestLink(socket, name);
  if (payload === undefined) return undefined;
  const attributes = attributesByType(afterHeader(payload, linkBytes));
  return { ...decodeLink(payload), statistics: decodeStatistics(attributes.get(statisticsAttribute)) };
}

/** All links of the socket's namespace. */
export function listLinks(socket: NetlinkSocket): Link[] {
  const payload = Buffer.concat([linkHeader(), attribute(wantedAttribute, native32(skipStatistics))]);
  return socket.dump({ type: getLink, flags: 0, payload }).map((reply) => decodeLink(reply.payload));
}

/**
 * Deletes all links of a group at once, which costs as much time as deleting one of them. Whether there were any. Throws
 * `RangeError` for group 0, in which everything else is.
 */
export function deleteLinkGroup(socket: NetlinkSocket, group: number): boolean {
  if (!Number.isInteger(group) || group < 1 || group > 0xffffffff)
    throw new RangeError(`not a group to delete: ${group}`);
  const payload = Buffer.concat([linkHeader(), attribute(groupAttribute, native32(group))]);
  try {
    socket.request({ type: deleteLink, flags: 0, payload });
    return true;
  } catch (error) {
    if (isRefusal(error, "ENODEV")) return false;
    throw error;
  }
}

/** `payload`: of one RTM_NEWLINK. */
export function decodeLink(payload: Buffer): Link {
  const attributes = attributesByType(afterHeader(payload, linkBytes));
  const address = attributes.get(addressAttribute);
  const group = attributes.get(groupAttribute);
  return {
    name: readText(attributes.get(nameAttribute)),
    index: payload.readInt32LE(4),
    isUp: (payload.readUInt32LE(8) & flagUp) !== 0,
    ...(address?.length === macLength ? { hardwareAddress: readMac(address) } : {}),
    group: group === undefined ? 0 : readNative32(group),
  };
}

// struct rtnl_link_stats64, which newer kernels make longer.
function decodeStatistics(bytes: Buffer | undefined): LinkStatistics {
  const known = bytes?.subarray(0, statisticsBytes);
  const at = (index: number): bigint => readNative64(known?.subarray(8 * index, 8 * index + 8));
  return {
    receivedPackets: at(0),
    sentPackets: at(1),
    receivedBytes: at(2),
    sentBytes: at(3),
    receivedDropped: at(6),
    sentDropped: at(7),
  };
}
