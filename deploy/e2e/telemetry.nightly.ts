import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { fetchTrace } from "../client/trace.ts";
import { renderTraceTree } from "../dev/trace-tree.ts";
import { kindOf, prometheusMetrics } from "../observability/catalogue.ts";
import { prometheusName } from "../observability/prometheus-names.ts";
import { ask, clients, env, eventually, evict, giveSecret } from "./subject.ts";
import { type TraceShape, traceFaults, traceShapes } from "./trace-shapes.ts";

const name = "seen-in-telemetry";
const exportLimitMs = 40_000;
const wakeLimitMs = 60_000;

/** A trace, and the span that its root is below. */
interface Called {
  readonly traceId: string;
  readonly callerSpanId: string;
}

/** Calls with a trace of the caller's own. */
async function traced(run: (call: { headers: Record<string, string> }) => Promise<unknown>): Promise<Called> {
  const called = { traceId: randomBytes(16).toString("hex"), callerSpanId: randomBytes(8).toString("hex") };
  await run({ headers: { traceparent: `00-${called.traceId}-${called.callerSpanId}-01` } });
  return called;
}

/** A request wakes the tenant; which trace that was is in the audit log. */
async function wokenByRequest(): Promise<Called> {
  await clients.tenants.suspendTenant({ requestId: randomUUID(), name });
  await ask(name, { timeoutMs: wakeLimitMs });
  const { records } = await clients.audit.queryRecords({ tenant: name, page: { pageSize: 500 } });
  const wake = records.findLast(({ draft }) => draft?.action === "WakeTenant");
  return { traceId: wake?.draft?.traceId ?? "", callerSpanId: "" };
}

const request = () => ({ requestId: randomUUID(), name });

/** How each kind of operation is asked for, in the order in which they can be. */
const operations: { readonly [K in keyof typeof traceShapes]: () => Promise<Called> } = {
  spawn: () => traced((call) => clients.tenants.spawnTenant(request(), call)),
  suspend: () => traced((call) => clients.tenants.suspendTenant(request(), call)),
  resume: () => traced((call) => clients.tenants.resumeTenant(request(), call)),
  wake: wokenByRequest,
  evict: () => traced((call) => clients.tenants.evictTenant(request(), call)),
};

before(() => giveSecret(name, "api-key"));
after(() => evict(name));

describe("one trace shows an operation from its caller to the guest's agent, with each service and step", () => {
  for (const [kind, run] of Object.entries(operations)) {
    test(kind, async () => {
      const shape: TraceShape = traceShapes[kind as keyof typeof traceShapes];
      const { traceId, callerSpanId } = await run();
      const services = [...new Set(shape.spans.map(({ service }) => service))];
      let faults: readonly string[] = [];
      let tree = "";
      await eventually("a complete trace", 10_000, async () => {
        const spans = await fetchTrace(env.LOBSTERD_TRACES, traceId, { services, waitMs: 2000 });
        tree = renderTraceTree(spans);
        faults = traceFaults(spans, shape, callerSpanId);
        return faults.length === 0 ? true : undefined;
      }).catch(() => assert.fail(`${faults.join("\n")}\n${tree}`));
    });
  }
});

test("the services export every metric that is declared, nothing else, and no tenant, microVM or caller in any of it", async () => {
  const { tenant } = await clients.tenants.spawnTenant({ requestId: randomUUID(), name });
  assert.ok(tenant !== undefined);
  const declared = prometheusMetrics();
  const wanted = [...declared.values()].map(({ spec }) => prometheusName(spec.name, spec.unit, kindOf(spec)));
  let text = "";
  let missing: readonly string[] = [];
  const scrape = async () => {
    text = await (await fetch(`${env.LOBSTERD_TRACES}/metrics`)).text();
    const families = new Set([...text.matchAll(/^# TYPE (\S+) /gm)].map(([, family = ""]) => family));
    missing = wanted.filter((family) => !families.has(family));
    return missing.length === 0 && text.includes('lobsterd_vm_tenants{job="lobsterd/vm"') ? true : undefined;
  };
  // Guests, stores and calls are shown at the next export, every 15 s.
  await eventually("an export of every metric", exportLimitMs, scrape).catch(() => assert.deepEqual(missing, []));
  for (const line of text.split("\n").filter((one) => one !== "" && !one.startsWith("#"))) {
    const [, metric = "", labels = ""] = /^([a-z_]+)\{(.*)\} \S+$/.exec(line) ?? [];
    const known = declared.get(metric);
    assert.ok(known !== undefined, `not declared: ${line}`);
    for (const [, label = ""] of labels.matchAll(/([a-z_]+)="/g))
      assert.ok(known.labels.has(label), `${label} in ${line}`);
  }
  for (const private_ of [name, tenant.vmId, "10.201.", "spiffe:", "operator", "api-key"])
    assert.ok(!text.includes(private_), `${private_} is in a metric`);
});
