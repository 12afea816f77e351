import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { decodeConnection } from "./conntrack.ts";
import { decodeLink } from "./link.ts";
import { attribute, MalformedMessage, nested } from "./message.ts";
import { decodeRule } from "./nft-rules.ts";
import { decodeShaping, encodeTbf } from "./shaping.ts";
import { connectedTo } from "./sock-diag.ts";
import { big16, big64, ipv4Bytes, native32, zeroTerminated } from "./values.ts";

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ""), "hex");

const tuple = (type: number): Buffer =>
  nested(
    type,
    nested(1, attribute(1, ipv4Bytes("10.201.0.3")), attribute(2, ipv4Bytes("192.0.2.1"))),
    nested(2, attribute(1, Buffer.of(6)), attribute(2, big16(40_000)), attribute(3, big16(443))),
  );
const comment = Buffer.concat([hex("00 06"), zeroTerminated("reply")]);
const replies = {
  rule: {
    decode: decodeRule,
    bytes: Buffer.concat([
      hex("01000000"),
      attribute(2, zeroTerminated("FROM-GUEST")),
      attribute(3, big64(7n)),
      nested(
        4,
        nested(1, attribute(1, zeroTerminated("counter")), nested(2, attribute(1, big64(2n)), attribute(2, big64(1n)))),
      ),
      attribute(7, comment),
    ]),
    value: { chain: "FROM-GUEST", handle: 7n, comment: "reply", counter: { packets: 1n, bytes: 2n } },
  },
  connection: {
    decode: (bytes: Buffer) => {
      const { original, secondsLeft, tcpState } = decodeConnection(bytes);
      return { ...original, secondsLeft, tcpState };
    },
    bytes: Buffer.concat([
      ...[hex("02000000"), tuple(1), tuple(2), attribute(12, native32(1))],
      ...[attribute(7, hex("00000e0f")), nested(4, nested(1, attribute(1, hex("03"))))],
    ]),
    value: {
      protocol: 6,
      source: "10.201.0.3",
      destination: "192.0.2.1",
      sourcePort: 40_000,
      destinationPort: 443,
      secondsLeft: 3599,
      tcpState: 3,
    },
  },
  link: {
    decode: decodeLink,
    bytes: Buffer.concat([
      hex("00000100 05000000 43100100 00000000"),
      attribute(3, zeroTerminated("lob-1")),
      attribute(1, hex("06000ac90002")),
      attribute(27, native32(9)),
    ]),
    value: { name: "lob-1", index: 5, isUp: true, hardwareAddress: "06:00:0a:c9:00:02", group: 9 },
  },
  shaping: {
    decode: decodeShaping,
    bytes: Buffer.concat([
      Buffer.alloc(20),
      attribute(1, zeroTerminated("tbf")),
      encodeTbf(20_000),
      nested(7, attribute(3, hex("00000000 00000000 03000000 00000000 00000000"))),
    ]),
    value: { kind: "tbf", kbits: 20_000, drops: 3 },
  },
};

for (const [name, { decode, bytes, value }] of Object.entries(replies)) {
  describe(`the kernel's description of a ${name}`, () => {
    it("is read", () => {
      assert.deepEqual(decode(bytes), value);
    });

    it("never makes its reader read outside", () => {
      const attempt = (hostile: Buffer): void => {
        try {
          decode(hostile);
        } catch (error) {
          assert.ok(error instanceof MalformedMessage, String(error));
        }
      };
      for (let length = 0; length < bytes.length; length += 1) attempt(bytes.subarray(0, length));
      for (let at = 0; at < bytes.length; at += 1) {
        for (const octet of [0, 1, 3, 0x7f, 0xff]) {
          const changed = Buffer.from(bytes);
          changed.writeUInt8(octet, at);
          attempt(changed);
        }
      }
    });
  });
}

describe("a token bucket", () => {
  it("has bytes a second, a burst of 32 KiB and room for 50 ms more", () => {
    // 2,500,000 bytes/s; limit 125,000 + 32,768; 32 KiB take 13.1072 ms, which is 204,800 ticks of 64 ns.
    const parameters = "00010000 00000000 a0252600 00000000 00000000 00000000 48680200 00200300 00000000";
    assert.deepEqual(encodeTbf(20_000), hex(`3400 0280 2800 0100 ${parameters} 0800 0600 00800000`));
  });

  it("says a rate above 32 bits apart", () => {
    const rate = "0c00 0400 00741a3f 09000000";
    assert.ok(encodeTbf(100_000_000 - 1).length === encodeTbf(1).length + rate.replaceAll(" ", "").length / 2);
    for (const kbits of [0, -1, 1.5, 100_000_001, Number.NaN]) assert.throws(() => encodeTbf(kbits), RangeError);
  });
});

describe("the filter of sockets", () => {
  it("is one comparison of the destination", () => {
    assert.deepEqual(connectedTo("10.201.0.3"), hex("0810 1400 0220 0000 ffffffff 0ac90003"));
  });
});
