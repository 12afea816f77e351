import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MalformedMessage } from "./message.ts";
import { decodeElements, encodeElements } from "./nft-element.ts";
import { decodeKey, decodeKeyTypes, encodeKey, type Key, type KeyType, keyText } from "./nft-key.ts";

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ""), "hex");
const link = { type: "ifname", value: "lob-1" } as const;
const linkBytes = "6c6f622d 31000000 00000000 00000000";

const keys: readonly { key: Key; bytes: string }[] = [
  { key: [link], bytes: linkBytes },
  { key: [{ type: "ether_addr", value: "06:00:0a:c9:00:03" }], bytes: "06000ac90003" },
  { key: [{ type: "inet_service", value: 8080 }], bytes: "1f90" },
  { key: [{ type: "inet_proto", value: 6 }], bytes: "06" },
  {
    key: [link, { type: "ether_addr", value: "06:00:0a:c9:00:03" }, { type: "ipv4_addr", value: "10.201.0.3" }],
    bytes: `${linkBytes} 06000ac9 00030000 0ac90003`,
  },
  { key: [link, { type: "mark", value: 0x1234 }], bytes: `${linkBytes} 34120000` },
  {
    key: [
      link,
      { type: "ipv4_addr", value: "1.2.3.4" },
      { type: "inet_proto", value: 17 },
      { type: "inet_service", value: 53 },
    ],
    bytes: `${linkBytes} 01020304 11000000 00350000`,
  },
];

describe("a set's key", () => {
  for (const { key, bytes } of keys) {
    it(`is ${key.map(({ type }) => type).join(" . ")}`, () => {
      assert.deepEqual(encodeKey(key), hex(bytes));
      assert.deepEqual(
        decodeKey(
          hex(bytes),
          key.map(({ type }) => type),
        ),
        key,
      );
    });
  }

  it("is refused in the wrong length", () => {
    const types: KeyType[] = ["ifname", "mark"];
    for (const length of [0, 16, 19, 21]) assert.throws(() => decodeKey(Buffer.alloc(length), types), MalformedMessage);
  });

  it("is refused with a value that its type has not", () => {
    const bad: Key[] = [
      [],
      [{ type: "ifname", value: "" }],
      [{ type: "ifname", value: "sixteen-letters!" }],
      [{ type: "ifname", value: "lob-*" }],
      [{ type: "ifname", value: "a\0b" }],
      [{ type: "ether_addr", value: "06:00:0a:c9:00" }],
      [{ type: "ipv4_addr", value: "10.0.0.256" }],
      [{ type: "ipv4_addr", value: "10.0.0" }],
      [{ type: "ipv4_addr", value: "010.0.0.1" }],
      [{ type: "mark", value: 2 ** 32 }],
      [{ type: "inet_proto", value: 256 }],
      [{ type: "inet_service", value: -1 }],
    ];
    for (const key of bad) assert.throws(() => encodeKey(key), RangeError, keyText(key));
  });

  it("has the types that nft noted", () => {
    assert.deepEqual(decodeKeyTypes(41), ["ifname"]);
    assert.deepEqual(decodeKeyTypes((41 << 12) | (9 << 6) | 7), ["ifname", "ether_addr", "ipv4_addr"]);
    assert.throws(() => decodeKeyTypes(8), MalformedMessage);
  });

  it("has one text, with ranges where there are any", () => {
    const end: Key = [link, { type: "inet_service", value: 90 }];
    assert.equal(keyText([link, { type: "inet_service", value: 80 }], end), "lob-1 . 80-90");
    assert.equal(keyText([{ type: "ether_addr", value: "0A:00:00:00:00:01" }]), "0a:00:00:00:00:01");
  });
});

describe("an element", () => {
  const table = "0d00 0100 6c6f6273 74657264 00 000000";

  it("is table, set and a list of one key", () => {
    const bytes = encodeElements("lobsterd", [{ set: "ports", key: [{ type: "inet_service", value: 80 }] }]);
    assert.deepEqual(
      bytes,
      hex(`${table} 0a00 0200 706f7274 7300 0000 1400 0380 1000 0180 0c00 0180 0600 0100 0050 0000`),
    );
  });

  it("carries the end of its range and its own limit", () => {
    const bytes = encodeElements("t", [
      {
        set: "s",
        key: [{ type: "inet_proto", value: 1 }],
        keyEnd: [{ type: "inet_proto", value: 2 }],
        limit: { ratePerSecond: 500, burst: 50 },
      },
    ]);
    const limit = `4400 0780  0a00 0100 6c696d69 7400 0000
      3400 0280  0c00 0100 00000000 000001f4  0c00 0200 00000000 00000001  0800 0300 00000032  0800 0400 00000000  0800 0500 00000000`;
    const element = `0c00 0180 0500 0100 01000000  0c00 0a80 0500 0100 02000000  ${limit}`;
    assert.deepEqual(bytes, hex(`0600 0100 7400 0000 0600 0200 7300 0000 6400 0380 6000 0180 ${element}`));
    assert.deepEqual(decodeElements(bytes, ["inet_proto"]), [
      {
        key: [{ type: "inet_proto", value: 1 }],
        keyEnd: [{ type: "inet_proto", value: 2 }],
        limit: { ratePerSecond: 500, burst: 50 },
        others: [],
        isIntervalEnd: false,
      },
    ]);
  });

  it("is refused with a rate or burst that cannot be", () => {
    for (const limit of [
      { ratePerSecond: 0, burst: 1 },
      { ratePerSecond: 1.5, burst: 1 },
      { ratePerSecond: 1, burst: -1 },
      { ratePerSecond: 1, burst: 2 ** 32 },
    ])
      assert.throws(() => encodeElements("t", [{ set: "s", key: [link], limit }]), RangeError);
  });

  it("never makes its reader read outside", () => {
    const bytes = encodeElements("t", [{ set: "s", key: [link], limit: { ratePerSecond: 1, burst: 1 } }]);
    for (let length = 0; length < bytes.length; length += 1) attempt(bytes.subarray(0, length));
    for (let at = 0; at < bytes.length; at += 1) {
      for (const value of [0, 1, 3, 0x7f, 0xff]) {
        const changed = Buffer.from(bytes);
        changed.writeUInt8(value, at);
        attempt(changed);
      }
    }
  });
});

function attempt(bytes: Buffer): void {
  try {
    decodeElements(bytes, ["ifname"]);
  } catch (error) {
    assert.ok(error instanceof MalformedMessage, String(error));
  }
}
