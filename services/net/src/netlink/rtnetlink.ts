import { attribute } from "./message.ts";
import { isRefusal, type NetlinkSocket, type Request } from "./socket.ts";
import { readNative32, zeroTerminated } from "./values.ts";

/** What links and queueing disciplines share: a message about one link, by name or number. */
export const linkBytes = 16;
export const nameAttribute = 3;
export const getLink = 18;

/** struct ifinfomsg */
export function linkHeader(index = 0): Buffer {
  const bytes = Buffer.alloc(linkBytes);
  bytes.writeInt32LE(index, 4);
  return bytes;
}

/** The payload of RTM_NEWLINK for the link of this name; `undefined` if there is none. */
export function requestLink(socket: NetlinkSocket, name: string): Buffer | undefined {
  const request: Request = {
    type: getLink,
    flags: 0,
    payload: Buffer.concat([linkHeader(), attribute(nameAttribute, zeroTerminated(name))]),
  };
  try {
    return socket.request(request)[0]?.payload;
  } catch (error) {
    if (isRefusal(error, "ENODEV")) return undefined;
    throw error;
  }
}

/** The kernel's number of a link. Throws `NoSuchLink`. */
export function linkIndex(socket: NetlinkSocket, name: string): number {
  const payload = requestLink(socket, name);
  if (payload === undefined) throw new NoSuchLink(name);
  return readNative32(payload.subarray(4, 8));
}

export class NoSuchLink extends Error {
  override readonly name = "NoSuchLink";

  constructor(link: string) {
    super(`there is no link ${link}`);
  }
}
