import assert from "node:assert/strict";
import { test } from "node:test";
import { endToEndHeaders } from "./forwarded-headers.ts";

test("hop-by-hop headers and those that Connection names are left out", () => {
  const raw = [
    "Host",
    "a",
    "Connection",
    "close, X-Once",
    "X-Once",
    "1",
    "Keep-Alive",
    "5",
    "X-Kept",
    "2",
    "TE",
    "trailers",
  ];
  assert.deepEqual(endToEndHeaders(raw), ["Host", "a", "X-Kept", "2"]);
});

test("Connection cannot name Host or Content-Length away", () => {
  const raw = ["Host", "a", "Content-Length", "3", "Connection", "host, content-length"];
  assert.deepEqual(endToEndHeaders(raw), ["Host", "a", "Content-Length", "3"]);
});

test("framing and upgrades are the sender's own", () => {
  assert.deepEqual(endToEndHeaders(["Transfer-Encoding", "chunked", "Upgrade", "websocket", "Trailer", "X"]), []);
});

test("repeated headers keep their order", () => {
  assert.deepEqual(endToEndHeaders(["Set-Cookie", "a", "Set-Cookie", "b"]), ["Set-Cookie", "a", "Set-Cookie", "b"]);
});
