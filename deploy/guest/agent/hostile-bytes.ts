/** Bytes that a hostile caller of the agent sends, for its tests. */
import { randomBytes } from "node:crypto";

export const healthPath = "/lobsterd.agent.v1.AgentService/Health";

/** A gRPC message with its five bytes of prefix; `claimed` is the length that it says to have. */
export function framed(message: Buffer, claimed = message.length): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(claimed, 1);
  return Buffer.concat([prefix, message]);
}

/** A HealthRequest whose trace_id has so many bytes. */
export function healthOf(text: Buffer): Buffer {
  const head = [0x12];
  for (let left = text.length; ; left >>>= 7) {
    head.push(left > 127 ? (left & 127) | 128 : left);
    if (left <= 127) break;
  }
  return Buffer.concat([Buffer.from(head), text]);
}

const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

function frame(type: number, flags: number, stream: number, payload: Buffer, claimed = payload.length): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(claimed, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** What a client sends first. */
export const connectionStart = Buffer.concat([preface, frame(4, 0, 0, Buffer.alloc(0))]);
const repeated = (one: (index: number) => Buffer, count: number) =>
  Buffer.concat(Array.from({ length: count }, (_, index) => one(index)));

/** Each sent after the connection's preface by a caller whose certificate is right. */
export const malformedHttp2: Readonly<Record<string, () => Buffer>> = {
  "random bytes": () => randomBytes(256 * 1024),
  "random frames": () =>
    repeated(() => frame(randomBytes(1)[0] ?? 0, randomBytes(1)[0] ?? 0, 1, randomBytes(64)), 2_000),
  "a frame larger than allowed": () => frame(0, 0, 1, Buffer.alloc(1024), 0xff_ffff),
  "headers that never end": () =>
    Buffer.concat([frame(1, 0, 1, Buffer.alloc(16)), repeated(() => frame(9, 0, 1, Buffer.alloc(8_192, 0x40)), 512)]),
  "settings without end": () => repeated(() => frame(4, 0, 0, Buffer.from([0, 4, 0, 0, 255, 255])), 50_000),
  "pings without end": () => repeated(() => frame(6, 0, 0, Buffer.alloc(8)), 50_000),
  "streams opened and reset": () =>
    repeated((index) => {
      const stream = 2 * index + 1;
      // :method POST and :scheme https from the static table, and the path as a literal.
      const headers = Buffer.concat([Buffer.from([0x83, 0x87, 0x04, healthPath.length]), Buffer.from(healthPath)]);
      return Buffer.concat([frame(1, 4, stream, headers), frame(3, 0, stream, Buffer.from([0, 0, 0, 8]))]);
    }, 10_000),
  "windows that overflow": () => repeated(() => frame(8, 0, 0, Buffer.from([0x7f, 0xff, 0xff, 0xff])), 1_000),
};
