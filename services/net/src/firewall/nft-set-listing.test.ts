import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { readSetListing } from "./nft-set-listing.ts";

const listing = (set: object): string => JSON.stringify({ nftables: [{ metainfo: { version: "1.0.6" } }, { set }] });

describe("nft's listing of a set", () => {
  it("gives keys, limits and counters", () => {
    const limit = { rate: 5, burst: 9, per: "second" };
    const elem = [{ elem: { val: { concat: ["lob-1", 7] }, limit, counter: { packets: 1, bytes: 2 } } }];
    assert.deepEqual(readSetListing(listing({ type: ["ifname", "mark"], elem })), [
      {
        key: [
          { type: "ifname", value: "lob-1" },
          { type: "mark", value: 7 },
        ],
        limit: { ratePerSecond: 5, burst: 9 },
        counter: { packets: 1n, bytes: 2n },
        others: [],
      },
    ]);
    assert.deepEqual(readSetListing(listing({ type: "ifname" })), []);
  });

  it("gives prefixes and ranges by both ends", () => {
    const elem = ["1.2.3.4", { range: ["1.2.3.9", "1.2.3.17"] }, { prefix: { addr: "224.0.0.0", len: 3 } }];
    const ranges = readSetListing(listing({ type: "ipv4_addr", flags: ["interval"], elem }));
    assert.deepEqual(
      ranges.map(({ key, keyEnd }) => [key[0]?.value, keyEnd?.[0]?.value]),
      [
        ["1.2.3.4", "1.2.3.4"],
        ["1.2.3.9", "1.2.3.17"],
        ["224.0.0.0", "255.255.255.255"],
      ],
    );
  });

  it("names what it does not know about an element", () => {
    const limit = { rate: 5, burst: 9, per: "second", inv: true };
    const elem = [{ elem: { val: "lob-1", limit, quota: {}, expires: 4 } }];
    assert.deepEqual(readSetListing(listing({ type: "ifname", elem }))[0]?.others, ["quota", "limit"]);
  });

  it("is refused when it cannot be understood", () => {
    const sets = [
      { type: "ipv6_addr", elem: [] },
      { type: "ifname", elem: [{ concat: ["lob-1", 7] }] },
      { type: ["ifname", "mark"], elem: ["lob-1"] },
      { type: "mark", elem: ["lob-1"] },
      { type: "ifname", elem: [{ map: {} }] },
    ];
    for (const set of sets) assert.throws(() => readSetListing(listing(set)), JSON.stringify(set));
    assert.throws(() => readSetListing("{}"));
    assert.throws(() => readSetListing('{"nftables": []}'), /listed no set/);
  });
});
