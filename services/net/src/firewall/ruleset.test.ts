import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import type { Egress } from "../networks/policy.ts";
import { unproven } from "../testing/ablations.ts";
import { usual } from "../testing/ground.ts";
import { dropReasons, markOf } from "./drop-reasons.ts";
import { hostRuleset } from "./host-ruleset.ts";
import { renderRuleset, ruleIds, withoutClause, withoutPolicy, withoutRule } from "./ruleset.ts";
import { slotRuleset } from "./slot-ruleset.ts";
import type { AdmittedNetwork } from "./tenant-elements.ts";

const resolverAddresses = ["9.9.9.9"];
const list = {
  mode: "list",
  rules: [
    { cidr: "93.184.216.0/24", port: 443, protocol: "tcp" },
    { cidr: "45.5.0.0/16", port: undefined, protocol: undefined },
  ],
} as const satisfies Egress;
const networks = [
  { slot: 0, ...usual },
  { slot: 5, egress: { mode: "none" }, limits: usual.limits },
  { slot: 63, egress: list, limits: { ...usual.limits, sentPackets: 50 } },
] as const satisfies readonly AdmittedNetwork[];
const host = hostRuleset({ uplinkInterface: "up0", resolverAddresses, connectionLimit: 1024, slotCount: 64, networks });
const slot = slotRuleset({ connectionLimit: 1024, resolverAddresses, hostAddresses: ["45.0.0.1", "10.0.0.1"] });

function golden(name: string): string {
  return readFileSync(new URL(`./golden/${name}`, import.meta.url), "utf8");
}

describe("ruleset text", () => {
  test("host is as reviewed", () => assert.equal(renderRuleset(host), golden("host.nft")));
  test("slot is as reviewed", () => assert.equal(renderRuleset(slot), golden("slot.nft")));

  test("without an uplink there is no way out and no translation", () => {
    const options = { resolverAddresses: [], connectionLimit: 1024, slotCount: 64, networks: [] };
    const text = renderRuleset(hostRuleset(options));
    assert.doesNotMatch(text, /masquerade|opened/);
    assert.equal(text, golden("host-without-uplink.nft"));
  });

  test("the host never translates a destination", () =>
    assert.doesNotMatch(renderRuleset(host), /\b(dnat|redirect)\b/));

  test("what a host rule drops for has its own number, and every base chain of it drops by policy", () => {
    const text = renderRuleset(host);
    for (const reason of dropReasons)
      assert.match(text, new RegExp(`meta mark set ${markOf(reason)} goto \\S+ comment "${reason}"`));
    assert.equal(text.match(/policy drop/g)?.length, 4);
  });

  test("every rule has its own name in its ruleset", () => {
    for (const ruleset of [host, slot]) assert.equal(new Set(ruleIds(ruleset)).size, ruleIds(ruleset).length);
  });
});

describe("ablation", () => {
  test("covers every rule", () => {
    assert.deepEqual([unproven("host"), unproven("slot")], [[], []]);
  });
  test("removes exactly one rule", () => {
    assert.deepEqual(
      ruleIds(withoutRule(host, "spoofed")),
      ruleIds(host).filter((id) => id !== "spoofed"),
    );
  });
  test("takes one condition out of one rule", () => {
    const [before, after] = [host, withoutClause(host, "sending", "iifname @sending")].map(renderRuleset);
    assert.equal(before?.replace("@guests iifname @sending accept", "@guests accept"), after);
  });
  test("refuses a name that is not there", () => {
    assert.throws(() => withoutClause(host, "sending", "no such clause"), RangeError);
    assert.throws(() => withoutRule(host, "no-such-rule"), RangeError);
    assert.throws(() => withoutPolicy(slot, "LOBSTER-TRANSLATE-IN"), RangeError);
  });
});
