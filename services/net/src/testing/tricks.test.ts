import assert from "node:assert/strict";
import { test } from "node:test";
import { checksum } from "./frames.ts";
import { ipv4Frame, type Path, tcpFlags, tcpSegment } from "./packets.ts";
import { cutSyn, forgedArpSenders, forgedSources, optionFrames, overlappingFragments, taggedFrames } from "./tricks.ts";

const path: Path = {
  destinationMac: "06:00:0a:4d:00:01",
  sourceMac: "06:00:0a:4d:00:02",
  source: "10.77.0.2",
  destination: "45.0.0.2",
  port: 7001,
};
const ethernetLength = 14;

function ipv4Of(frame: Buffer): { header: Buffer; payload: Buffer; offset: number; more: boolean } {
  const packet = frame.subarray(ethernetLength);
  const headerLength = 4 * (packet.readUInt8(0) & 15);
  const flags = packet.readUInt16BE(6);
  return {
    header: packet.subarray(0, headerLength),
    payload: packet.subarray(headerLength, packet.readUInt16BE(2)),
    offset: 8 * (flags & 0x1fff),
    more: (flags & 0x2000) !== 0,
  };
}

test("the pieces of a cut SYN are the SYN, and the first one ends before its flags", () => {
  const [first, second] = cutSyn(path).map(ipv4Of);
  assert.deepEqual([first?.offset, first?.more, second?.offset, second?.more], [0, true, 8, false]);
  const whole = Buffer.concat([first?.payload ?? Buffer.alloc(0), second?.payload ?? Buffer.alloc(0)]);
  assert.deepEqual(whole, tcpSegment(path, tcpFlags.syn));
});

test("every header has a good checksum, with options, too", () => {
  for (const frame of [...cutSyn(path), ...overlappingFragments(path), ...optionFrames(path, "10.201.0.1")]) {
    assert.equal(checksum(ipv4Of(frame).header), 0);
  }
});

test("tags stand between the addresses and the type, outermost first", () => {
  const tags = [
    [0x88a8, 5],
    [0x8100, 6],
  ] as const;
  const frame = ipv4Frame(path, 17, Buffer.alloc(8), { tags });
  assert.equal(frame.subarray(12, 22).toString("hex"), "88a80005810000060800");
  assert.ok(taggedFrames(path).every((tagged) => [0x8100, 0x88a8].includes(tagged.readUInt16BE(12))));
});

test("forged senders and sources are many, and none is the guest", () => {
  const sources = forgedSources(path, 10_000).map((frame) => frame.subarray(26, 30).join("."));
  assert.ok(new Set(sources).size > 9_900);
  assert.ok(!sources.includes(path.source));
  const senders = forgedArpSenders(path, "10.77.0.1", 300).map((frame) => frame.subarray(22, 32).toString("hex"));
  assert.equal(new Set(senders).size, 300);
});
