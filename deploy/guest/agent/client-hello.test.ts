import assert from "node:assert/strict";
import { test } from "node:test";
import { helloState } from "./client-hello.ts";

const hello = Uint8Array.from([22, 3, 1, 0, 4, 1, 0, 0, 0]);

test("a hello is complete with the last byte of its first record", () => {
  for (let length = 0; length < hello.length; length += 1) {
    assert.equal(helloState(hello.subarray(0, length)), "incomplete", String(length));
  }
  assert.equal(helloState(hello), "complete");
  assert.equal(helloState(Uint8Array.from([...hello, 0])), "complete");
});

test("what is no TLS, or announces a record larger than a hello, is not waited for", () => {
  assert.equal(helloState(Buffer.from("GET / HTTP/1.1")), "not-tls");
  assert.equal(helloState(Uint8Array.from([22, 2])), "not-tls");
  assert.equal(helloState(Uint8Array.from([22, 3, 1, 0x20, 1])), "not-tls");
});
