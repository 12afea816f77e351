import assert from "node:assert/strict";
import { test } from "node:test";
import { prometheusLabel, prometheusName } from "./prometheus-names.ts";

test("names of metrics get their unit in words, and a counter its suffix", () => {
  assert.equal(prometheusName("rpc.server.call.duration", "s", "histogram"), "rpc_server_call_duration_seconds");
  assert.equal(prometheusName("process.memory.usage", "By", "gauge"), "process_memory_usage_bytes");
  assert.equal(prometheusName("lobsterd.net.drops", "{packet}", "counter"), "lobsterd_net_drops_total");
  assert.equal(prometheusName("lobsterd.audit.accepting", "", "gauge"), "lobsterd_audit_accepting");
  assert.throws(() => prometheusName("lobsterd.share", "1", "gauge"), /unit 1 of lobsterd.share has no translation/);
  assert.equal(prometheusLabel("rpc.response.status_code"), "rpc_response_status_code");
});
