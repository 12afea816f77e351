import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { dotted, isDenied, parseRange, union, without } from "./ranges.ts";

const range = (text: string) => parseRange(text);
const words = (ranges: readonly { first: number; last: number }[]) =>
  ranges.map(({ first, last }) => `${dotted(first)}-${dotted(last)}`);

describe("address ranges", () => {
  test("are read from prefixes and addresses", () => {
    assert.deepEqual(words([range("93.184.216.0/24"), range("1.2.3.4"), range("0.0.0.0/0")]), [
      "93.184.216.0-93.184.216.255",
      "1.2.3.4-1.2.3.4",
      "0.0.0.0-255.255.255.255",
    ]);
  });

  for (const text of ["1.2.3", "1.2.3.4/33", "256.0.0.0", "1.2.3.4/24", "", "1.2.3.4/", "::1"])
    test(`refuses ${JSON.stringify(text)}`, () => assert.throws(() => range(text), RangeError));

  test("merge when they touch or overlap", () => {
    assert.deepEqual(
      words(union([range("1.0.1.0/24"), range("1.0.0.0/24"), range("1.0.0.128/25"), range("3.0.0.0/8")])),
      ["1.0.0.0-1.0.1.255", "3.0.0.0-3.255.255.255"],
    );
  });

  test("lose a hole", () => {
    assert.deepEqual(words(without([range("1.0.0.0/24")], [range("1.0.0.16/28"), range("1.0.0.240/28")])), [
      "1.0.0.0-1.0.0.15",
      "1.0.0.32-1.0.0.239",
    ]);
  });

  test("know what no policy opens", () => {
    for (const text of ["10.1.2.0/24", "169.254.169.254", "192.168.0.0/16", "240.0.0.0/4", "168.63.129.16"])
      assert.equal(isDenied(range(text)), true, text);
    for (const text of ["8.8.8.8", "0.0.0.0/0", "168.63.129.0/24"]) assert.equal(isDenied(range(text)), false, text);
  });
});
