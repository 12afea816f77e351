import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { HeldElement } from "./nft-element.ts";
import { closedRanges } from "./nft-interval.ts";
import { keyText } from "./nft-key.ts";

const held = (address: string, isIntervalEnd: boolean): HeldElement => ({
  key: [{ type: "ipv4_addr", value: address }],
  others: [],
  isIntervalEnd,
});
const texts = (elements: readonly HeldElement[]): string[] =>
  closedRanges(elements).map(({ key, keyEnd }) => keyText(key, keyEnd));

describe("ranges of a set with one field", () => {
  it("are made of beginnings and ends, in whatever order", () => {
    const elements = [
      held("11.0.0.0", true),
      held("192.0.2.2", true),
      held("10.0.0.0", false),
      held("192.0.2.1", false),
    ];
    assert.deepEqual(texts([...elements, held("0.0.0.0", true)]), ["10.0.0.0-10.255.255.255", "192.0.2.1"]);
  });

  it("end where the next one begins, and at the last key", () => {
    const elements = [
      held("10.0.0.0", false),
      held("10.0.1.0", false),
      held("10.0.1.0", true),
      held("224.0.0.0", false),
    ];
    assert.deepEqual(texts([...elements, held("10.0.2.0", true)]), [
      "10.0.0.0-10.0.0.255",
      "10.0.1.0-10.0.1.255",
      "224.0.0.0-255.255.255.255",
    ]);
  });
});
