import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { canonicalJson, differingPaths } from "./canonical-json.ts";

describe("canonicalJson", () => {
  it("does not depend on the order of keys, and does on the order of lists", () => {
    assert.equal(canonicalJson({ b: [1, { d: null, c: true }], a: "x" }), '{"a":"x","b":[1,{"c":true,"d":null}]}');
    assert.equal(canonicalJson({ a: 1, b: 2 }), canonicalJson({ b: 2, a: 1 }));
    assert.notEqual(canonicalJson([1, 2]), canonicalJson([2, 1]));
  });

  it("tells a missing value from null and a number from its text", () => {
    assert.notEqual(canonicalJson({}), canonicalJson({ a: null }));
    assert.notEqual(canonicalJson({ a: 1 }), canonicalJson({ a: "1" }));
  });
});

describe("differingPaths", () => {
  it("names what was changed, added and removed", () => {
    const left = { admin: { listen: "a" }, same: [1], list: [1, 2], "a/b": 1 };
    const right = { admin: { listen: "b" }, same: [1], list: [2, 1], extra: {} };
    assert.deepEqual(differingPaths(left, right), ["/a~1b", "/admin/listen", "/extra", "/list"]);
  });

  it("is empty for equal documents and bounded for different ones", () => {
    assert.deepEqual(differingPaths({ a: { b: 1 } }, { a: { b: 1 } }), []);
    const many = Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`k${index}`, index]));
    assert.equal(differingPaths(many, {}).length, 8);
  });
});
