import assert from "node:assert/strict";
import { test } from "node:test";
import { diffInventories } from "./inventory.ts";
import { describeConntrack, describeFacts, describeRuleset } from "./network-inventory.ts";

test("a difference counts equal lines", () => {
  assert.deepEqual(diffInventories(["a", "a", "b"], ["a", "b", "c"]), { added: ["c"], removed: ["a"] });
  assert.deepEqual(diffInventories(["a", "b"], ["b", "a"]), { added: [], removed: [] });
});

const ruleset = (counter: number, elements: unknown[], handle: number): string =>
  JSON.stringify({
    nftables: [
      { metainfo: { version: "1.0.6" } },
      { table: { family: "inet", name: "lobsterd", handle } },
      { chain: { family: "inet", table: "lobsterd", name: "LOBSTER-INPUT", handle } },
      { set: { family: "inet", table: "lobsterd", name: "guests", handle, elem: elements } },
      {
        rule: {
          family: "inet",
          table: "lobsterd",
          chain: "LOBSTER-INPUT",
          handle: counter,
          expr: [{ counter: null }, { drop: null }],
        },
      },
    ],
  });

test("an element, and nothing that counts by itself, makes a difference", () => {
  const before = describeRuleset("ns", ruleset(1, ["lob-0"], 2));
  assert.deepEqual(describeRuleset("ns", ruleset(9, [{ elem: { val: "lob-0", expires: 3 } }], 7)), before);
  const after = describeRuleset("ns", ruleset(1, ["lob-0", "lob-1"], 2));
  assert.deepEqual(diffInventories(before, after), {
    added: ['nft ns set inet lobsterd guests element "lob-1"'],
    removed: [],
  });
});

test("a changed rule makes a difference", () => {
  const changed = ruleset(1, [], 2).replace('"drop"', '"accept"');
  assert.equal(
    diffInventories(describeRuleset("ns", ruleset(1, [], 2)), describeRuleset("ns", changed)).added.length,
    1,
  );
});

test("connections of guests count, those of services do not", () => {
  const text = [
    "tcp      6 431999 ESTABLISHED src=127.0.0.1 dst=127.0.0.1 sport=1 dport=4222 src=127.0.0.1 dst=127.0.0.1 sport=4222 dport=1",
    "tcp      6 119 TIME_WAIT src=10.201.0.0 dst=10.201.0.1 sport=5 dport=9000 src=10.201.0.1 dst=10.201.0.0 sport=9000 dport=5",
  ].join("\n");
  const lines = describeConntrack("ns", text);
  assert.equal(lines.length, 1);
  assert.match(lines[0] ?? "", /^conntrack ns tcp src=10\.201\.0\.0 dst=10\.201\.0\.1 sport=5 dport=9000/);
});

test("the parts of every namespace are told apart, and one that vanished is named", () => {
  const text = `@@ links a
[{"ifname":"lo"}]
@@ rules a
{"nftables":[{"table":{"family":"inet","name":"lobsterd"}}]}
@@ connections a
@@ links b
[{"ifname":"tap0"}]

@@ unreadable c
`;
  assert.deepEqual(describeFacts(text), [
    "link a lo",
    "nft a table inet lobsterd",
    "link b tap0",
    "namespace c cannot be read",
  ]);
});
