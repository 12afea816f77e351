import assert from "node:assert/strict";
import { test } from "node:test";
import { resolvConf } from "./resolv-conf.ts";

test("each resolver is a name server, asked twice for two seconds", () => {
  assert.equal(
    resolvConf(["45.0.0.53", "45.0.0.54"]),
    "nameserver 45.0.0.53\nnameserver 45.0.0.54\noptions timeout:2 attempts:2\n",
  );
});

test("without a resolver there is a comment and no server", () => {
  assert.match(resolvConf([]), /^# [^\n]+\n$/);
});
