import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  afterHeader,
  attribute,
  attributesByType,
  decodeAttributes,
  decodeMessages,
  encodeMessage,
  MalformedMessage,
  nested,
} from "./message.ts";
import { native32, zeroTerminated } from "./values.ts";

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ""), "hex");

describe("a netlink message", () => {
  it("is its header and its payload, padded to four bytes", () => {
    const bytes = encodeMessage({ type: 0x0a0c, flags: 0x405, sequence: 7, payload: hex("01000000 ff") });
    assert.equal(bytes.toString("hex"), hex("15000000 0c0a 0504 07000000 00000000 01000000 ff000000").toString("hex"));
  });

  it("is read back, also behind another one", () => {
    const first = { type: 3, flags: 2, sequence: 9, payload: hex("00000000 05") };
    const second = { type: 2, flags: 0, sequence: 10, payload: hex("") };
    assert.deepEqual(decodeMessages(Buffer.concat([encodeMessage(first), encodeMessage(second)])), [first, second]);
  });

  it("may lack its padding at the end of a datagram", () => {
    const bytes = encodeMessage({ type: 3, flags: 0, sequence: 1, payload: hex("aa") });
    assert.deepEqual(decodeMessages(bytes.subarray(0, 17))[0]?.payload, hex("aa"));
  });

  it("is refused when it is cut off or its length cannot be", () => {
    const bytes = encodeMessage({ type: 3, flags: 0, sequence: 1, payload: hex("aabbccdd") });
    for (let length = 1; length < bytes.length; length += 1)
      assert.throws(() => decodeMessages(bytes.subarray(0, length)), MalformedMessage);
    for (const length of [0, 1, 15, 21, 0x7fffffff, 0xffffffff]) {
      bytes.writeUInt32LE(length, 0);
      assert.throws(() => decodeMessages(bytes), MalformedMessage);
    }
  });
});

describe("attributes", () => {
  it("are length, type and value, padded to four bytes", () => {
    assert.deepEqual(attribute(1, zeroTerminated("lobsterd")), hex("0d00 0100 6c6f6273 74657264 00 000000"));
    assert.deepEqual(nested(3, attribute(1, native32(5))), hex("0c00 0380 0800 0100 05000000"));
  });

  it("are read back in order, without their flags", () => {
    const bytes = Buffer.concat([
      nested(1, attribute(2, hex("aa"))),
      attribute(1, hex("")),
      attribute(0x4002, hex("bb")),
    ]);
    assert.deepEqual(
      decodeAttributes(bytes).map(({ type, payload }) => [type, payload.toString("hex")]),
      [
        [1, "05000200aa000000"],
        [1, ""],
        [2, "bb"],
      ],
    );
    assert.deepEqual(attributesByType(bytes).get(1), hex(""));
  });

  it("are refused when they are cut off or a length cannot be", () => {
    const bytes = attribute(1, hex("aabbccdd"));
    for (let length = 1; length < bytes.length; length += 1)
      assert.throws(() => decodeAttributes(bytes.subarray(0, length)), MalformedMessage);
    for (const length of [0, 3, 9, 0xffff]) {
      bytes.writeUInt16LE(length, 0);
      assert.throws(() => decodeAttributes(bytes), MalformedMessage);
    }
  });

  it("hold no more than their length can say", () => {
    assert.equal(attribute(1, Buffer.alloc(0xffff - 4)).length, 0x10000);
    assert.throws(() => attribute(1, Buffer.alloc(0xffff - 3)), RangeError);
  });

  it("begin after a header that must be whole", () => {
    assert.deepEqual(afterHeader(hex("01000000 aabbccdd"), 4), hex("aabbccdd"));
    assert.throws(() => afterHeader(hex("010000"), 4), MalformedMessage);
  });
});
