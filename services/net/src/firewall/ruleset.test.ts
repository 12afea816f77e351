import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { unproven } from "../testing/ablations.ts";
import { hostRuleset } from "./host-ruleset.ts";
import { renderRuleset, ruleIds, withoutPolicy, withoutRule } from "./ruleset.ts";
import { slotRuleset } from "./slot-ruleset.ts";

const host = hostRuleset({ uplinkInterface: "up0", connectionLimit: 1024, slotCount: 64, slots: [0, 5, 63] });
const slot = slotRuleset({ connectionLimit: 1024 });

function golden(name: string): string {
  return readFileSync(new URL(`./golden/${name}`, import.meta.url), "utf8");
}

describe("ruleset text", () => {
  test("host is as reviewed", () => assert.equal(renderRuleset(host), golden("host.nft")));
  test("slot is as reviewed", () => assert.equal(renderRuleset(slot), golden("slot.nft")));

  test("without an uplink there is no way out and no translation", () => {
    const text = renderRuleset(hostRuleset({ connectionLimit: 1024, slotCount: 64, slots: [] }));
    assert.doesNotMatch(text, /masquerade|to-outside/);
    assert.equal(text, golden("host-without-uplink.nft"));
  });

  test("the host never translates a destination", () =>
    assert.doesNotMatch(renderRuleset(host), /\b(dnat|redirect)\b/));

  test("every rule has its own name in its ruleset", () => {
    for (const ruleset of [host, slot]) assert.equal(new Set(ruleIds(ruleset)).size, ruleIds(ruleset).length);
  });
});

describe("ablation", () => {
  test("covers every rule", () => {
    assert.deepEqual(unproven("host"), []);
    assert.deepEqual(unproven("slot"), []);
  });
  test("removes exactly one rule", () => {
    assert.deepEqual(
      ruleIds(withoutRule(host, "spoofed")),
      ruleIds(host).filter((id) => id !== "spoofed"),
    );
  });
  test("refuses a name that is not there", () => {
    assert.throws(() => withoutRule(host, "no-such-rule"), RangeError);
    assert.throws(() => withoutPolicy(slot, "LOBSTER-TRANSLATE-IN"), RangeError);
  });
});
