/**
 * A process that exports every declared metric, for tests of what reads them: each series of a list of values, the same each time, counters rising.
 * Started like a service, with the telemetry preload.
 */
import { chassisMetrics } from "@lobsterd/chassis/chassis-metrics.ts";
import type { AttributeValues, MetricSpec } from "@lobsterd/chassis/metrics.ts";
import { auditMetrics } from "../../services/audit/src/metrics.ts";
import { netMetrics } from "../../services/net/src/metrics.ts";
import { proxyMetrics } from "../../services/proxy/src/metrics.ts";
import { secretsMetrics } from "../../services/secrets/src/metrics.ts";
import { vmMetrics } from "../../services/vm/src/metrics.ts";

type Attributes = Readonly<Record<string, string>>;
interface Instrument {
  readonly spec: MetricSpec;
  add?(amount: number, attributes: Attributes): void;
  record?(value: number, attributes: Attributes): void;
  observe?(read: () => readonly (readonly [number, Attributes])[]): Disposable;
}

/** Stands for the values of lists that are made elsewhere. */
const examples: Readonly<Record<string, readonly string[]>> = {
  "rpc.method": ["lobsterd.audit.v1.AuditService/AppendRecord", "lobsterd.vm.v1.TenantService/SpawnTenant"],
  "rpc.response.status_code": ["OK", "INTERNAL"],
  operation: ["spawn", "evict"],
  step: ["boot-guest"],
  state: ["running", "failed"],
};

const own = { vm: vmMetrics, net: netMetrics, proxy: proxyMetrics, secrets: secretsMetrics, audit: auditMetrics };
const service = process.env["OTEL_SERVICE_NAME"] as keyof typeof own;
const instruments = [...Object.values(chassisMetrics), ...Object.values(own[service])] as unknown as Instrument[];

function combinations(attributes: Readonly<Record<string, AttributeValues>> = {}): Attributes[] {
  return Object.entries(attributes).reduce<Attributes[]>(
    (made, [name, values]) => {
      const list = "boundedBy" in values ? (examples[name] ?? []) : values;
      if (list.length === 0) throw new Error(`no example of ${name}`);
      return made.flatMap((one) => list.map((value) => ({ ...one, [name]: value })));
    },
    [{}],
  );
}

let total = 0;
for (const { spec, observe } of instruments) {
  observe?.(() => combinations(spec.attributes).map((attributes, at) => [total + at + 1, attributes]));
}
setInterval(() => {
  total += 1;
  for (const { spec, add, record } of instruments) {
    for (const attributes of combinations(spec.attributes)) {
      add?.(1, attributes);
      record?.(0.02, attributes);
    }
  }
}, 200);
