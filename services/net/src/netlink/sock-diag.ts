import { attribute, MalformedMessage } from "./message.ts";
import { isRefusal, NetlinkRefused, type NetlinkSocket, type Reply, type Request } from "./socket.ts";
import { ipv4Bytes, native32 } from "./values.ts";

const byFamily = 20;
const destroy = 21;
const families = [2, 10];
const protocols = [6, 17];
const ipv4 = 2;
const identityBytes = 48;
/** Of struct inet_diag_msg before the identity: family, state, timer, retransmissions. */
const beforeIdentity = 4;
/** All but TIME_WAIT, which nobody holds any more and Linux 6.1 cannot destroy, and LISTEN, which has no other end. */
const states = 0xfff & ~(1 << 6) & ~(1 << 10);
const bytecode = 1;
const destinationCondition = 8;
const conditionBytes = 16;

/**
 * Destroys the TCP and UDP sockets of the socket's namespace that are connected to this IPv4 address: the other end gets a reset
 * if there is one, and whoever holds a socket an error (ECONNABORTED). Returns how many were destroyed. Safe to repeat.
 * `socket`: of `protocols.sockDiag`. Throws `NetlinkRefused` with `EOPNOTSUPP` on a kernel without CONFIG_INET_DIAG_DESTROY.
 */
export function destroySockets(socket: NetlinkSocket, remoteAddress: string): number {
  const condition = attribute(bytecode, connectedTo(remoteAddress));
  const requests: Request[] = [];
  for (const protocol of protocols) {
    // A socket of IPv6 can be connected to an IPv4 address too; the condition matches it as well.
    for (const family of families) {
      const payload = Buffer.concat([header(family, protocol, Buffer.alloc(identityBytes)), condition]);
      const found = socket.dump({ type: byFamily, flags: 0, payload });
      requests.push(...found.map((reply) => destruction(reply, family, protocol)));
    }
  }
  const results = socket.pipeline(requests);
  let destroyed = 0;
  for (const result of results) {
    if (!(result instanceof NetlinkRefused)) destroyed += 1;
    else if (!isRefusal(result, "ENOENT")) throw result;
  }
  return destroyed;
}

// The identity ends in a cookie, so what is destroyed is that socket and no later one of the same addresses.
function destruction({ payload }: Reply, family: number, protocol: number): Request {
  const identity = payload.subarray(beforeIdentity, beforeIdentity + identityBytes);
  if (identity.length < identityBytes) throw new MalformedMessage("a socket ends inside its identity");
  return { type: destroy, flags: 0, payload: header(family, protocol, identity) };
}

/** struct inet_diag_req_v2 */
function header(family: number, protocol: number, identity: Buffer): Buffer {
  return Buffer.concat([Buffer.of(family, protocol, 0, 0), native32(states), identity]);
}

/** One instruction: on to the end if the destination is this, else past the end, which refuses. Exported for its test. */
export function connectedTo(address: string): Buffer {
  const bytes = Buffer.alloc(conditionBytes);
  bytes.writeUInt8(destinationCondition, 0);
  bytes.writeUInt8(conditionBytes, 1);
  bytes.writeUInt16LE(conditionBytes + 4, 2);
  bytes.writeUInt8(ipv4, 4);
  bytes.writeUInt8(32, 5);
  bytes.writeInt32LE(-1, 8);
  ipv4Bytes(address).copy(bytes, 12);
  return bytes;
}
