import assert from "node:assert/strict";
import { test } from "node:test";
import { identify, peerOf, type Role, uriNames } from "./caller.ts";

const anybody = () => "platform" as const;
const roles = new Map<string, Role>([["spiffe://test/client/anna", "viewer"]]);

test("only a name of this domain with the right form is a caller", () => {
  assert.deepEqual(identify("spiffe://test/svc/vm", "test", roles), {
    kind: "service",
    name: "vm",
    uri: "spiffe://test/svc/vm",
  });
  assert.equal(identify("spiffe://test/client/anna", "test", roles).kind, "client");
  const strangers = [
    "spiffe://test/client/eve",
    "spiffe://other/svc/vm",
    "spiffe://test.evil/svc/vm",
    "spiffe://test/svc/vm/extra",
    "spiffe://test/svc/",
    "spiffe://test/guest/demo/1/1",
    "spiffe://test/SVC/vm",
    "https://test/svc/vm",
    "",
  ];
  for (const uri of strangers) assert.equal(identify(uri, "test", roles).kind, "stranger", uri);
});

test("a quoted name that contains a URI is one name", () => {
  assert.deepEqual(uriNames('DNS:"x\\u002c URI:spiffe://test/svc/vm", URI:spiffe://test/svc/net'), [
    "spiffe://test/svc/net",
  ]);
  assert.deepEqual(uriNames('DNS:"a, URI:spiffe://test/svc/vm"'), []);
  assert.deepEqual(uriNames("URI:spiffe://a/b, URI:spiffe://c/d"), ["spiffe://a/b", "spiffe://c/d"]);
});

test("a connection without encryption or certificate proves nothing", () => {
  assert.deepEqual(peerOf({}, anybody).verified, false);
  const peer = peerOf({ encrypted: true, authorized: true, getPeerX509Certificate: () => undefined }, anybody);
  assert.ok(!peer.verified && peer.reason === "CERTIFICATE_REQUIRED");
});
