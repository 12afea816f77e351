import assert from "node:assert/strict";
import { test } from "node:test";
import type { OutgoingEvent } from "@lobsterd/chassis/events.ts";
import { captureLogs, fakeAuditSink } from "@lobsterd/chassis/testing.ts";
import { createProxyEvents } from "./events.ts";

function open() {
  const audit = fakeAuditSink();
  const { logger, logs } = captureLogs();
  const told: OutgoingEvent[] = [];
  const events = createProxyEvents({ bus: { publish: (event) => void told.push(event) }, audit, logger });
  return { audit, logs, told, events };
}

test("a configuration that somebody else loaded is an event, an error in the log and an audit record", () => {
  const { audit, logs, told, events } = open();
  events.caddyChecked({ kind: "loaded", cause: "moved", paths: ["/admin/listen", "/apps"] });
  assert.deepEqual(
    told.map(({ name, data }) => ({ name, data })),
    [{ name: "caddy-drift-undone", data: { cause: "moved", paths: ["/admin/listen", "/apps"] } }],
  );
  assert.deepEqual(
    audit.entries.map(({ action, resource, outcome }) => ({ action, resource, outcome })),
    [{ action: "RepairDrift", resource: "caddy-moved:/admin/listen", outcome: "success" }],
  );
  assert.equal(logs[0]?.level, "error");
});

test("names that somebody else made are an audit record, in the log's alphabet", () => {
  const { audit, events } = open();
  events.namesRepaired([], ["a b\n".repeat(100)]);
  assert.match(audit.entries[0]?.resource ?? "", /^names:[A-Za-z0-9._:/-]{1,122}$/);
});

test("a Caddy that starts afresh is no drift", () => {
  const { audit, told, events } = open();
  events.caddyChecked({ kind: "loaded", cause: "fresh", paths: ["/apps"] });
  events.caddyChecked({ kind: "equal" });
  assert.deepEqual(
    told.map(({ name }) => name),
    ["caddy-configured"],
  );
  assert.deepEqual(audit.entries, []);
});

test("a record that cannot be kept is at least in the log", async () => {
  const { audit, logs, events } = open();
  audit.mode = "fail";
  events.caddyChecked({ kind: "loaded", cause: "drift", paths: ["/apps"] });
  await new Promise(setImmediate);
  assert.match(JSON.stringify(logs.at(-1)), /could not be kept/);
});
