import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { SetElement } from "../netlink/nft-element.ts";
import { usual } from "../testing/ground.ts";
import { elementDifference, structuralDrift } from "./drift.ts";
import { readTables } from "./nft-output.ts";
import { elementsOf } from "./tenant-elements.ts";

function listing(options: { rule?: string; size?: number } = {}): string {
  const { rule = 'iifname "lob-*" counter drop', size = 64 } = options;
  return `table ip nat {
	chain DOCKER {
	}
}
table inet lobsterd {
	set guests {
		type ifname . ether_addr . ipv4_addr
		size ${size}
	}

	chain LOBSTER-RAW {
		type filter hook prerouting priority raw; policy accept;
		${rule}
	}
}
`;
}

const read = (text: string) => readTables(text, "lobsterd");

describe("readTables", () => {
  test("keeps our tables apart from the rest", () => {
    const tables = read(listing());
    assert.deepEqual([...tables.keys()], ["inet lobsterd"]);
    const { blocks } = tables.get("inet lobsterd") ?? { blocks: new Map() };
    assert.equal(blocks.get("set guests"), "\t\ttype ifname . ether_addr . ipv4_addr\n\t\tsize 64");
  });
  test("understands an empty ruleset", () => assert.equal(read("").size, 0));
  test("refuses what it does not understand", () => {
    assert.throws(() => read("tables inet lobsterd {\n}\n"), /not understood/);
    assert.throws(() => read("table inet lobsterd {\n\tset guests {\n"), /not understood/);
  });
});

describe("structuralDrift", () => {
  const expected = read(listing());
  test("sees none in itself", () => assert.deepEqual(structuralDrift(expected, read(listing())), []));
  test("names what differs", () => {
    const cases: ReadonlyArray<[string, string]> = [
      [listing({ rule: "accept" }), "changed-rules inet lobsterd chain LOBSTER-RAW"],
      [listing({ size: 1 }), "changed-rules inet lobsterd set guests"],
      [listing().replace("policy accept", "policy drop"), "changed-rules inet lobsterd chain LOBSTER-RAW"],
      [
        listing().replace("table inet lobsterd {", "table inet lobsterd {\n\tflags dormant"),
        "changed-rules inet lobsterd flags dormant",
      ],
      [
        listing().replace("\tset guests", "\tchain extra {\n\t}\n\n\tset guests"),
        "changed-rules inet lobsterd chain extra",
      ],
      [listing().replace("inet lobsterd", "ip lobsterd"), "missing-table inet lobsterd; unknown-table ip lobsterd"],
      ["", "missing-table inet lobsterd"],
    ];
    for (const [text, difference] of cases) {
      const found = structuralDrift(expected, read(text)).map(({ kind, object }) => `${kind} ${object}`);
      assert.equal(found.join("; "), difference);
    }
  });
});

describe("elementDifference", () => {
  const of = (slot: number): SetElement[] => elementsOf({ slot, ...usual });

  test("finds what is missing and what nobody should have", () => {
    const { missing, unknown } = elementDifference([...of(1), ...of(3)], [...of(1), ...of(2)]);
    assert.deepEqual([missing, unknown], [of(3), of(2)]);
  });

  test("an element with another limit is both", () => {
    const changed = of(1).map((element) =>
      element.set === "sending" ? { ...element, limit: { ratePerSecond: 1_000_000, burst: 1 } } : element,
    );
    const { missing, unknown } = elementDifference(of(1), changed);
    assert.deepEqual([missing.map(({ set }) => set), unknown.map(({ set }) => set)], [["sending"], ["sending"]]);
  });
});
