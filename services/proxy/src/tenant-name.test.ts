import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { hostPattern } from "./tenant-name.ts";

/** The rule of the proto, written the long way: the pattern must agree with it on every text. */
function isTenant(text: string): boolean {
  const allowed = [...text].every((character) => "abcdefghijklmnopqrstuvwxyz0123456789-".includes(character));
  const first = text[0] ?? "";
  return text.length >= 1 && text.length <= 40 && allowed && first >= "a" && first <= "z" && !text.endsWith("-");
}

function tenantIn(host: string, domain: string): string | undefined {
  return new RegExp(hostPattern(domain)).exec(host)?.[1];
}

/** The same numbers in each run. */
function* numbers(seed: number): Generator<number> {
  for (let state = seed; ; state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0) yield state >>> 8;
}

describe("hostPattern", () => {
  it("keeps names apart of which one begins or ends the other", () => {
    for (const tenant of ["foo", "foo-ws", "ws", "o", "foo-ws-ws"])
      assert.equal(tenantIn(`${tenant}.a.example`, "a.example"), tenant);
  });

  it("takes exactly the names that the proto allows, whole, for domains of any depth", () => {
    const alphabet = ["a", "b", "z", "0", "9", "-", ".", "_", "A", "*", " ", "\n", "/", "%", "é", "{", "}", ":"];
    const random = numbers(7);
    const next = (): number => random.next().value ?? 0;
    let accepted = 0;
    for (let round = 0; round < 20_000; round += 1) {
      const length = next() % (round % 10 === 0 ? 45 : 5);
      // Mostly harmless characters, or almost no long text would be a name.
      const text = Array.from({ length }, () => alphabet[next() % (next() % 8 === 0 ? alphabet.length : 5)]).join("");
      for (const domain of ["localhost", "a.example", "very.deep.down.example"]) {
        const expected = isTenant(text) ? text : undefined;
        assert.equal(tenantIn(`${text}.${domain}`, domain), expected, JSON.stringify(text));
      }
      if (isTenant(text)) accepted += 1;
    }
    assert.ok(accepted > 2000 && accepted < 18_000, `${accepted} of 20000 were names`);
  });

  it("takes nothing around the name or in place of the domain's dots", () => {
    for (const host of [
      "x.foo.a.example",
      "foo.aXexample",
      "foo.a.example.",
      "foo.a.example.evil.example",
      "foo.a.example:443",
      "foo.a.example\n",
      "\nfoo.a.example",
      "evil\nfoo.a.example",
      ".a.example",
      "a.example",
      "",
      `${"a".repeat(41)}.a.example`,
    ]) {
      assert.equal(tenantIn(host, "a.example"), undefined, JSON.stringify(host));
    }
    assert.equal(tenantIn(`${"a".repeat(40)}.a.example`, "a.example"), "a".repeat(40));
  });
});
