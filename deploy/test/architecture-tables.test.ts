import assert from "node:assert/strict";
import { test } from "node:test";
import { processTable } from "./architecture-tables.ts";

test("the architecture page names every process with its user and capabilities", () => {
  const rows = processTable();
  assert.deepEqual(
    rows.map(({ process }) => process),
    ["vm", "vm-launcher", "net", "proxy", "secrets", "audit", "caddy", "nats"],
  );
  assert.deepEqual(rows.find(({ process }) => process === "vm")?.capabilities, []);
  assert.deepEqual(rows.find(({ process }) => process === "net")?.capabilities, ["NET_ADMIN", "SYS_ADMIN"]);
});
