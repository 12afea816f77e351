import { chassisMetrics as chassis } from "@lobsterd/chassis/chassis-metrics.ts";
import { AuditService } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { stringify } from "yaml";
import { auditMetrics as audit } from "../../services/audit/src/metrics.ts";
import { netMetrics as net } from "../../services/net/src/metrics.ts";
import { proxyMetrics as proxy } from "../../services/proxy/src/metrics.ts";
import { secretsMetrics as secrets } from "../../services/secrets/src/metrics.ts";
import { vmMetrics as vm } from "../../services/vm/src/metrics.ts";
import { jobs } from "./catalogue.ts";
import { increase, quantile, series } from "./queries.ts";

/** `page`: somebody gets up. `ticket`: in working hours. */
type Severity = "page" | "ticket";

export interface Alert {
  /** Also the heading of its section in docs/runbooks.md. */
  readonly name: string;
  readonly severity: Severity;
  readonly summary: string;
  readonly query: string;
  /** How long it has to be true first. */
  readonly holds?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

const boundary: readonly Alert[] = [
  {
    name: "NetworkDriftRepaired",
    severity: "page",
    summary: "somebody changed the guests' network on {{ $labels.instance }}: {{ $labels.kind }}, repaired",
    query: `${increase(net.drift, "15m", ["instance", "kind"])} > 0`,
  },
  {
    name: "FrontDriftRepaired",
    severity: "page",
    summary: "somebody changed the front on {{ $labels.instance }}: {{ $labels.kind }}, undone",
    query: `${increase(proxy.drift, "15m", ["instance", "kind"])} > 0`,
  },
  {
    name: "CaddyNotInLine",
    severity: "page",
    summary: "Caddy on {{ $labels.instance }} does not run the desired configuration",
    query: `${series(proxy.caddy)} == 0`,
    holds: "1m",
  },
  {
    name: "HostPostureRed",
    severity: "page",
    summary: "{{ $value }} required controls of {{ $labels.instance }} are {{ $labels.verdict }}",
    query: `${series(vm.controls, { required: "true", verdict: /fail|unknown/ })} > 0`,
    holds: "2m",
  },
  {
    name: "GuestMisbehaves",
    severity: "ticket",
    summary: "a guest on {{ $labels.instance }} answered outside its contract",
    query: `${increase(vm.misbehaviours, "15m", ["instance"])} > 0`,
  },
  {
    name: "SealedStateRefused",
    severity: "page",
    summary: "a sealed state on {{ $labels.instance }} is not the one that was sealed last: {{ $labels.error_type }}",
    query: `${increase(vm.failures, "15m", ["instance", "error.type"], { "error.type": /ROLLBACK|STATE_BROKEN/ })} > 0`,
  },
  {
    name: "InjectionLeaseAlarm",
    severity: "page",
    summary: "more injection leases were asked for than an ordinary host asks for: somebody may be collecting secrets",
    query: `${increase(secrets.leaseAlarms, "15m", ["instance"])} > 0`,
  },
];

const auditAlerts: readonly Alert[] = [
  {
    name: "AuditNotAccepting",
    severity: "page",
    summary: "the audit log takes no records: calls that give rights are refused",
    query: `${series(audit.accepting)} == 0`,
    holds: "30s",
  },
  {
    name: "AuditCheckpointsLate",
    severity: "page",
    summary: "checkpoints have not reached {{ $labels.store }} for {{ $value }} s",
    query: `${series(audit.checkpointLag)} > 60`,
  },
  {
    name: "AuditSpoolNotDelivered",
    severity: "page",
    summary: "records of {{ $labels.job }} have waited for audit for {{ $value }} s",
    query: `${series(chassis.spoolAge)} > 120`,
  },
  {
    name: "AuditRecordsRefused",
    severity: "ticket",
    summary: "audit refused {{ $value }} records of {{ $labels.job }} as invalid; they are kept in its spool",
    query: `${series(chassis.spoolRecords, { state: "refused" })} > 0`,
  },
  {
    name: "AuditRecordsLost",
    severity: "page",
    summary: "{{ $labels.job }} could keep a record nowhere but in its log",
    query: `${increase(chassis.recordsLost, "15m", ["job", "instance"])} > 0`,
  },
  {
    name: "AuditSlow",
    severity: "ticket",
    summary: "appends take {{ $value }} s at the 99th percentile: every recorded call waits that long",
    query: `${quantile(0.99, chassis.calls, [], { "rpc.method": `${AuditService.typeName}/${AuditService.method.appendRecord.name}` }, "5m")} > 0.5`,
    holds: "10m",
  },
];

const tenants: readonly Alert[] = [
  {
    name: "TenantFailed",
    severity: "page",
    summary: "{{ $value }} tenants on {{ $labels.instance }} have lost their microVM",
    query: `${series(vm.tenants, { state: "failed" })} > 0`,
  },
  {
    name: "SpawnsFail",
    severity: "page",
    summary: "{{ $value }} operations on {{ $labels.instance }} failed with {{ $labels.error_type }}",
    query: `${increase(vm.failures, "15m", ["instance", "error.type"], { "error.type": /BOOT_FAILED|WORKLOAD_FAILED|SPAWN_LIMIT_EXCEEDED|RESUME_FAILED|GUEST_UNREACHABLE|other/ })} > 2`,
  },
  {
    name: "WakesFail",
    severity: "page",
    summary:
      "{{ $value }} sleeping tenants on {{ $labels.instance }} could not be woken: their requests were answered with an error",
    query: `${increase(vm.wakes, "15m", ["instance"], { outcome: "failed" })} > 2`,
  },
  {
    name: "EvictionIncomplete",
    severity: "ticket",
    summary: "an evicted tenant on {{ $labels.instance }} is cut off but not removed",
    query: `${increase(vm.failures, "15m", ["instance"], { "error.type": "EVICTION_INCOMPLETE" })} > 0`,
  },
  {
    name: "HostFull",
    severity: "page",
    summary: "{{ $labels.instance }} refuses tenants for want of room",
    query: `${increase(vm.failures, "15m", ["instance"], { "error.type": /HOST_FULL|NO_FREE_SLOT/ })} > 0`,
  },
  {
    name: "HostNearlyFull",
    severity: "ticket",
    summary: "{{ $labels.resource }} of {{ $labels.instance }} is nearly all held",
    query: `${series(vm.capacity, { what: "held" })} / ignoring (what) ${series(vm.capacity, { what: "limit" })} > 0.9`,
    holds: "10m",
  },
  {
    name: "ConnectionTableNearlyFull",
    severity: "page",
    summary: "the connection table of {{ $labels.instance }} is nearly full; a full one drops every new connection",
    query: `${series(net.connections, { what: "held" })} / ignoring (what) ${series(net.connections, { what: "limit" })} > 0.8`,
    holds: "2m",
  },
  {
    name: "GuestIdentityNotRenewed",
    severity: "ticket",
    summary: "identities of guests on {{ $labels.instance }} are not renewed; one lasts an hour",
    query: `${increase(vm.renewals, "15m", ["instance"], { outcome: "failed" })} > 3`,
  },
  {
    name: "SecretsNotRotated",
    severity: "ticket",
    summary: "a running guest is behind with its secrets",
    query: `${increase(secrets.rotationsFailed, "15m", ["instance"])} > 0`,
  },
];

const platform: readonly Alert[] = [
  {
    name: "RootKeyUnavailable",
    severity: "page",
    summary: "the root key cannot be used: secrets stay sealed, and tenants cannot be spawned",
    query: `${series(secrets.rootKeyReady)} == 0`,
    holds: "1m",
  },
  {
    name: "CertificateExpires",
    severity: "page",
    summary: "the certificate of {{ $labels.job }} has less than a fifth of its life left and was not renewed",
    query: `(${series(chassis.certificateNotAfter)} - time()) / (${series(chassis.certificateNotAfter)} - ${series(chassis.certificateNotBefore)}) < 0.2`,
    holds: "5m",
  },
  {
    name: "BrokerDown",
    severity: "ticket",
    summary: "{{ $labels.job }} has no connection to the event broker",
    query: `${series(chassis.brokerConnected)} == 0`,
    holds: "2m",
  },
  {
    name: "EventsDropped",
    severity: "ticket",
    summary: "{{ $labels.job }} dropped events: those who wait for hints learn of changes late",
    query: `${increase(chassis.eventsDropped, "15m", ["job", "instance"])} > 0`,
  },
  {
    name: "CallsFail",
    severity: "page",
    summary: "{{ $value | humanizePercentage }} of the calls to {{ $labels.job }} fail by its own fault",
    query: `${increase(chassis.calls, "5m", ["job", "instance"], { "rpc.response.status_code": /INTERNAL|UNKNOWN|DATA_LOSS/ })} / ${increase(chassis.calls, "5m", ["job", "instance"])} > 0.05`,
    holds: "5m",
  },
  ...jobs.map(
    (job): Alert => ({
      name: "ServiceSilent",
      severity: "page",
      summary: `${job} exports nothing: it is down, or the way from it to Prometheus is`,
      query: `absent(${series(chassis.memory, { job })})`,
      holds: "2m",
      labels: { job },
    }),
  ),
];

export const alerts: readonly Alert[] = [...boundary, ...auditAlerts, ...tenants, ...platform];

/** Section of docs/runbooks.md, as a link from the root of the repository. */
export function runbookOf({ name }: Pick<Alert, "name">): string {
  return `docs/runbooks.md#${name.toLowerCase()}`;
}

/** The rule file of Prometheus. Pure: the same alerts are the same text. */
export function alertRules(): string {
  const rules = alerts.map((alert) => ({
    alert: alert.name,
    expr: alert.query,
    ...(alert.holds === undefined ? {} : { for: alert.holds }),
    labels: { severity: alert.severity, ...alert.labels },
    annotations: { summary: alert.summary, runbook_url: runbookOf(alert) },
  }));
  const notice = "# Written by `make observability` from deploy/observability/alerts.ts.\n";
  return notice + stringify({ groups: [{ name: "lobsterd", rules }] }, { lineWidth: 0 });
}
