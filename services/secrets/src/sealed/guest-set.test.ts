import assert from "node:assert/strict";
import { test } from "node:test";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import type { BoundSecret } from "../store/secret-store.ts";
import { guestSet } from "./guest-set.ts";
import { decodeTarget, encodeTarget } from "./targets.ts";

const red = { key: "team", value: "red" };

function secret(name: string, target = "file", change: Partial<BoundSecret> = {}): BoundSecret {
  return {
    ...{ tenant: "demo", name, version: 1, label: undefined, createTimeMs: 1, updateTimeMs: 1, boxBytes: 100 },
    target: decodeTarget(target),
    ...change,
  };
}

const shared = (name: string, target = "file", label = red) => secret(name, target, { tenant: "", label });
const names = (set: readonly BoundSecret[]) => set.map(({ tenant, name }) => `${tenant}/${name}`);
const reason = (run: () => unknown) => {
  try {
    run();
    return "OK";
  } catch (error) {
    return reasonOf(error);
  }
};

test("shared secrets are for tenants with exactly their label", () => {
  const set = [shared("a"), shared("b", "file", { key: "team", value: "blue" })];
  assert.deepEqual(names(guestSet([secret("own")], set, { team: "red" })), ["/a", "demo/own"]);
  assert.deepEqual(names(guestSet([], set, { team: "blue" })), ["/b"]);
  for (const labels of [{}, { team: "" }, { team: "redd" }, { other: "red" }]) {
    assert.deepEqual(guestSet([], set, labels), []);
  }
});

test("a label that objects have by themselves selects nobody", () => {
  assert.deepEqual(guestSet([], [shared("a", "file", { key: "constructor", value: "x" })], {}), []);
});

test("a tenant's own secret stands before a shared one of the same name or place", () => {
  const own = [secret("a"), secret("b", "environment:KEY"), secret("c", "configuration:/x/y")];
  const others = [shared("a", "environment:OTHER"), shared("d", "environment:KEY"), shared("e", "configuration:/x")];
  assert.deepEqual(names(guestSet(own, others, { team: "red" })), ["demo/a", "demo/b", "demo/c"]);
});

test("two shared secrets for one place are refused where a tenant has both labels, and only there", () => {
  const both = [
    shared("a", "environment:KEY"),
    shared("b", "environment:KEY", { key: "size", value: "big" }),
    shared("c", "configuration:/a"),
    shared("d", "configuration:/a/b", { key: "zone", value: "z" }),
  ];
  assert.equal(
    reason(() => guestSet([], both, { team: "red", size: "big" })),
    "TARGET_TAKEN",
  );
  assert.equal(
    reason(() => guestSet([], both, { team: "red", zone: "z" })),
    "TARGET_TAKEN",
  );
  assert.deepEqual(names(guestSet([], both, { team: "red" })), ["/a", "/c"]);
});

test("own and shared ones together have a bound in number and bytes", () => {
  const own = Array.from({ length: 63 }, (_, index) => secret(`own-${index}`));
  assert.equal(
    reason(() => guestSet(own, [], {})),
    "OK",
  );
  assert.equal(
    reason(() => guestSet(own, [shared("a")], { team: "red" })),
    "SECRET_LIMIT",
  );
  const large = [shared("a"), shared("b")].map((one) => ({ ...one, boxBytes: 600 * 1024 }));
  assert.equal(
    reason(() => guestSet([], large, { team: "red" })),
    "SECRET_SIZE_LIMIT",
  );
});

test("a target is read back as it was written, and nothing else is", () => {
  for (const text of ["file", "environment:API_KEY", "configuration:/a/b"]) {
    assert.equal(encodeTarget(decodeTarget(text)), text);
  }
  for (const text of ["", "disk", "environment", "configuration:"]) {
    assert.throws(() => decodeTarget(text), TypeError);
  }
});
