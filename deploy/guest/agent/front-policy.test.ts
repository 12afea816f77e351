import assert from "node:assert/strict";
import { test } from "node:test";
import { type FrontRequest, headerValues, hostNameOf, refusalOf } from "./front-policy.ts";

const domain = "lobsterd.test";
const names = new Set(["demo.guest.internal", "demo.example.test"]);
const good: FrontRequest = {
  caller: `spiffe://${domain}/svc/caddy`,
  serverName: "demo.guest.internal",
  hosts: ["demo.example.test"],
  target: "/path?query",
};
const statusOf = (change: Partial<FrontRequest>) => refusalOf({ ...good, ...change }, domain, names)?.status;

test("Caddy under the guest's own names gets through", () => {
  assert.equal(statusOf({}), undefined);
  assert.equal(statusOf({ hosts: ["DEMO.example.test:8443"], serverName: "Demo.Guest.Internal" }), undefined);
});

test("any other caller is refused before names are looked at", () => {
  for (const caller of [
    undefined,
    `spiffe://${domain}/svc/vm`,
    "spiffe://other.test/svc/caddy",
    `spiffe://${domain}/client/caddy`,
  ]) {
    assert.equal(statusOf({ caller, hosts: ["other.test"] }), 403, caller);
  }
});

test("another name in Host or SNI, or none, is misdirected", () => {
  assert.equal(statusOf({ hosts: ["other.example.test"] }), 421);
  assert.equal(statusOf({ hosts: [""] }), 421);
  assert.equal(statusOf({ hosts: ["demo.example.test.evil.test"] }), 421);
  assert.equal(statusOf({ serverName: "other.guest.internal" }), 421);
  assert.equal(statusOf({ serverName: false }), 421);
  assert.equal(statusOf({ serverName: null }), 421);
});

test("no Host, two Hosts and absolute targets are malformed", () => {
  assert.equal(statusOf({ hosts: [] }), 400);
  assert.equal(statusOf({ hosts: ["demo.example.test", "other.test"] }), 400);
  assert.equal(statusOf({ target: "http://other.test/" }), 400);
  assert.equal(statusOf({ target: "*" }), 400);
});

test("a Host header is a name and perhaps a port", () => {
  assert.equal(hostNameOf("A.example:443"), "a.example");
  for (const wrong of ["a.example:", "a.example:x", "a example", "user@a.example", "[::1]", "a.example/", ""]) {
    assert.equal(hostNameOf(wrong), undefined, wrong);
  }
});

test("all values of a header are found, whatever its case", () => {
  assert.deepEqual(headerValues(["Host", "a", "X", "host", "HOST", "b"], "host"), ["a", "b"]);
});
