import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { elementDifference, structuralDrift } from "./drift.ts";
import { elementsOf } from "./host-ruleset.ts";
import { readAddedElements, readTables } from "./nft-output.ts";

function listing(options: { guests?: string[]; rule?: string; denied?: string } = {}): string {
  const { guests = [], rule = 'iifname "lob-*" counter drop', denied = "10.0.0.0/8, 127.0.0.0/8" } = options;
  const elements = guests.length === 0 ? "" : `\n\t\telements = { ${guests.join(",\n\t\t\t     ")} }`;
  return `table ip nat {
	chain DOCKER {
	}
}
table inet lobsterd {
	set guests {
		type ifname . ether_addr . ipv4_addr
		size 64${elements}
	}

	set denied {
		type ipv4_addr
		flags interval
		elements = { ${denied} }
	}

	set connections {
		type ifname
		flags dynamic
		elements = { "lob-1" ct count over 1024 }
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
  test("keeps our tables and their elements apart from the rest", () => {
    const tables = read(listing({ guests: [elementsOf(1).guests, elementsOf(2).guests] }));
    assert.deepEqual([...tables.keys()], ["inet lobsterd"]);
    const table = tables.get("inet lobsterd");
    assert.deepEqual(table?.elements.get("guests"), [elementsOf(1).guests, elementsOf(2).guests]);
    assert.equal(table?.blocks.get("set guests"), "\t\ttype ifname . ether_addr . ipv4_addr\n\t\tsize 64");
  });
  test("understands an empty ruleset", () => assert.equal(read("").size, 0));
  test("refuses what it does not understand", () => {
    assert.throws(() => read("tables inet lobsterd {\n}\n"), /not understood/);
    assert.throws(() => read("table inet lobsterd {\n\tset guests {\n"), /not understood/);
  });
});

describe("readAddedElements", () => {
  test("reads what the kernel echoed", () => {
    const text = `add element inet lobsterd guests { ${elementsOf(3).guests} }\n# new generation 7 by process 1 (nft)\n`;
    assert.deepEqual([...readAddedElements(text)], [`guests ${elementsOf(3).guests}`]);
  });
});

describe("structuralDrift", () => {
  const expected = read(listing());
  test("sees no difference in tenants or in what the kernel counts", () => {
    const actual = read(listing({ guests: [elementsOf(1).guests] }).replace("ct count over 1024", "ct count over 9"));
    assert.deepEqual(structuralDrift(expected, actual), []);
  });
  test("names what differs", () => {
    const cases: ReadonlyArray<[string, string]> = [
      [listing({ rule: "accept" }), "changed-rules inet lobsterd chain LOBSTER-RAW"],
      [listing({ denied: "127.0.0.0/8" }), "changed-rules inet lobsterd set denied"],
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
  test("finds what is missing and what nobody should have", () => {
    const table = read(listing({ guests: [elementsOf(1).guests, elementsOf(2).guests] })).get("inet lobsterd");
    const { missing, unknown } = elementDifference([1, 3], table);
    assert.deepEqual(unknown, [{ set: "guests", element: elementsOf(2).guests }]);
    assert.deepEqual(missing, [
      { set: "guests", element: elementsOf(3).guests },
      { set: "reachable", element: elementsOf(1).reachable },
      { set: "reachable", element: elementsOf(3).reachable },
    ]);
  });
});
