import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { EgressRule } from "../networks/policy.ts";
import { destinationsOf, firstDeniedRule, permits } from "./egress.ts";
import { dotted } from "./ranges.ts";

const anyPort = (cidr: string): EgressRule => ({ cidr, port: undefined, protocol: undefined });
const rule = (cidr: string, port: number, protocol: EgressRule["protocol"] = "tcp"): EgressRule => ({
  cidr,
  port,
  protocol,
});
const tcp = (address: string, port: number) => ({ protocol: 6, address, port });

function words(rules: readonly EgressRule[]): string[] {
  return destinationsOf(rules).map(
    ({ protocol, addresses, firstPort, lastPort }) =>
      `${protocol} ${dotted(addresses.first)}-${dotted(addresses.last)} ${firstPort}-${lastPort}`,
  );
}

describe("destinations of a policy", () => {
  test("a rule without protocol is one for TCP and one for UDP", () => {
    assert.deepEqual(words([anyPort("1.2.3.0/24")]), ["6 1.2.3.0-1.2.3.255 0-65535", "17 1.2.3.0-1.2.3.255 0-65535"]);
  });

  test("what a wider rule covers is left out", () => {
    assert.deepEqual(words([rule("1.2.3.4/32", 443), { ...anyPort("1.2.3.0/24"), protocol: "tcp" }]), [
      "6 1.2.3.0-1.2.3.255 0-65535",
    ]);
    assert.deepEqual(words([rule("1.2.3.0/24", 443), rule("1.2.3.4/32", 443), rule("1.2.4.0/24", 443)]), [
      "6 1.2.3.0-1.2.4.255 443-443",
    ]);
  });

  test("never overlap, whatever the rules are", () => {
    const random = sequence(7);
    for (let round = 0; round < 200; round += 1) {
      const rules = Array.from({ length: 12 }, (): EgressRule => {
        const bits = 24 + (random() % 9);
        const size = 2 ** (32 - bits);
        const address = 0x01020300 + Math.floor((random() % 512) / size) * size;
        return {
          cidr: `${dotted(address)}/${bits}`,
          port: [undefined, 80, 443][random() % 3],
          protocol: (["tcp", "udp", undefined] as const)[random() % 3],
        };
      });
      const boxes = destinationsOf(rules);
      for (const [at, a] of boxes.entries()) {
        for (const b of boxes.slice(at + 1)) {
          const apart =
            a.protocol !== b.protocol ||
            a.addresses.last < b.addresses.first ||
            b.addresses.last < a.addresses.first ||
            a.lastPort < b.firstPort ||
            b.lastPort < a.firstPort;
          assert.ok(apart, JSON.stringify([rules, a, b]));
        }
      }
      assert.ok(boxes.length <= 3 * 2 * rules.length);
    }
  });
});

describe("a policy", () => {
  test("internet is every public address, and names from the resolvers alone", () => {
    const allows = (address: string, port: number) => permits({ mode: "internet" }, ["9.9.9.9"], tcp(address, port));
    assert.deepEqual(
      [
        allows("1.1.1.1", 443),
        allows("10.0.0.1", 443),
        allows("1.1.1.1", 53),
        allows("9.9.9.9", 53),
        allows("1.1.1.1", 853),
      ],
      [true, false, false, true, false],
    );
  });

  test("a list is what it names", () => {
    const egress = { mode: "list", rules: [rule("1.1.1.0/24", 443)] } as const;
    const allows = (address: string, port: number) => permits(egress, ["9.9.9.9"], tcp(address, port));
    assert.deepEqual(
      [allows("1.1.1.9", 443), allows("1.1.1.9", 80), allows("1.1.2.9", 443), allows("9.9.9.9", 53)],
      [true, false, false, true],
    );
    assert.equal(permits(egress, [], { protocol: 17, address: "1.1.1.9", port: 443 }), false);
  });

  test("none is not even names", () => {
    assert.equal(permits({ mode: "none" }, ["9.9.9.9"], tcp("9.9.9.9", 53)), false);
  });

  test("names its first rule that could never match", () => {
    const rules = [rule("1.1.1.0/24", 443), rule("10.1.0.0/16", 443), anyPort("192.168.0.0/24")];
    assert.equal(firstDeniedRule({ mode: "list", rules }), 1);
    assert.equal(firstDeniedRule({ mode: "list", rules: rules.slice(0, 1) }), undefined);
    assert.equal(firstDeniedRule({ mode: "list", rules: [anyPort("0.0.0.0/0")] }), undefined);
  });
});

/** A repeatable sequence of numbers. */
function sequence(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return state >>> 8;
  };
}
