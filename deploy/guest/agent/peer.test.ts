import assert from "node:assert/strict";
import { test } from "node:test";
import { soleUri } from "./peer.ts";

test("the one URI is the caller, whatever stands beside it", () => {
  assert.equal(soleUri("URI:spiffe://d/svc/vm"), "spiffe://d/svc/vm");
  assert.equal(soleUri("DNS:localhost, URI:spiffe://d/svc/vm, IP Address:127.0.0.1"), "spiffe://d/svc/vm");
});

test("no URI, two URIs and quoted names are nobody", () => {
  assert.equal(soleUri(undefined), undefined);
  assert.equal(soleUri(""), undefined);
  assert.equal(soleUri("DNS:localhost"), undefined);
  assert.equal(soleUri("URI:spiffe://d/svc/vm, URI:spiffe://d/svc/secrets"), undefined);
  assert.equal(soleUri('DNS:"a, URI:spiffe://d/svc/vm, b"'), undefined);
});
