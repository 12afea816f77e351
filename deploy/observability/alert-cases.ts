/**
 * Recorded series for the alert rules: each rule has series on which it fires, with the words it then says, and series on which it must be
 * silent. Values are promtool's, one a minute: `0x5 3x5` is six zeros and six threes, `0+2x9` rises by two.
 */
export interface AlertCase {
  readonly alert: string;
  readonly about: string;
  readonly series: Readonly<Record<string, string>>;
  /** Minutes after the first value. */
  readonly atMinutes: number;
  /** What it fires with; silent without. The severity comes from the rule. */
  readonly fires?: { readonly labels: Readonly<Record<string, string>>; readonly summary: string };
}

const host = 'instance="h1"';
const on = { instance: "h1" };

const of = (service: string) => ({ job: `lobsterd/${service}`, ...on });
const origin = (service: string) => `job="lobsterd/${service}", ${host}`;

function fires(
  alert: string,
  series: Record<string, string>,
  labels: Record<string, string>,
  summary: string,
  atMinutes = 14,
): AlertCase {
  return { alert, about: "fires", series, atMinutes, fires: { labels, summary } };
}

function silent(alert: string, about: string, series: Record<string, string>, atMinutes = 14): AlertCase {
  return { alert, about, series, atMinutes };
}

/** A counter that begins at 0 and has its first event in the fifth minute. */
const firstEvent = "0x5 1x20";
/** The same event, long ago. */
const longAgo = "0x2 1x60";
const never = "0x60";

const drift = `lobsterd_net_drift_repaired_total{${origin("net")}, kind="changed-rules"}`;
const frontDrift = `lobsterd_proxy_drift_repaired_total{${origin("proxy")}, kind="caddy-moved"}`;
const caddy = `lobsterd_proxy_caddy_in_line{${origin("proxy")}}`;
const control = (verdict: string, required: string) =>
  `lobsterd_vm_host_controls{${origin("vm")}, verdict="${verdict}", required="${required}"}`;
const misbehaviours = `lobsterd_vm_guest_misbehaviours_total{${origin("vm")}}`;
const leases = `lobsterd_secrets_lease_alarms_total{${origin("secrets")}}`;
const accepting = `lobsterd_audit_accepting{${origin("audit")}}`;
const lag = `lobsterd_audit_checkpoint_lag_seconds{${origin("audit")}, store="url"}`;
const spoolAge = `lobsterd_audit_spool_age_seconds{${origin("net")}}`;
const spool = (state: string) => `lobsterd_audit_spool_records{${origin("net")}, state="${state}"}`;
const lost = `lobsterd_audit_records_lost_total{${origin("vm")}}`;
const append = (le: string) =>
  `rpc_server_call_duration_seconds_bucket{${origin("audit")}, rpc_method="lobsterd.audit.v1.AuditService/AppendRecord", rpc_response_status_code="OK", le="${le}"}`;
const tenantsIn = (state: string) => `lobsterd_vm_tenants{${origin("vm")}, state="${state}"}`;
const failed = (reason: string) => `lobsterd_vm_operations_failed_total{${origin("vm")}, error_type="${reason}"}`;
const capacity = (what: string) => `lobsterd_vm_capacity{${origin("vm")}, resource="memory_mib", what="${what}"}`;
const connections = (what: string) => `lobsterd_net_tracked_connections{${origin("net")}, what="${what}"}`;
const renewals = (outcome: string) => `lobsterd_vm_identity_renewals_total{${origin("vm")}, outcome="${outcome}"}`;
const wakes = (outcome: string) => `lobsterd_vm_wakes_total{${origin("vm")}, outcome="${outcome}"}`;
const rotations = `lobsterd_secrets_rotations_failed_total{${origin("secrets")}}`;
const rootKey = `lobsterd_secrets_root_key_ready{${origin("secrets")}}`;
const certificate = (end: "before" | "after") => `lobsterd_tls_certificate_not_${end}_seconds{${origin("vm")}}`;
const broker = `lobsterd_events_broker_connected{${origin("vm")}}`;
const dropped = `lobsterd_events_dropped_total{${origin("vm")}}`;
const calls = (code: string) =>
  `rpc_server_call_duration_seconds_count{${origin("net")}, rpc_method="lobsterd.net.v1.NetworkService/AttachNetwork", rpc_response_status_code="${code}"}`;
const alive = (service: string) => `process_memory_usage_bytes{${origin(service)}}`;
const others = {
  [alive("net")]: "1x60",
  [alive("proxy")]: "1x60",
  [alive("secrets")]: "1x60",
  [alive("audit")]: "1x60",
};

export const alertCases: readonly AlertCase[] = [
  fires(
    "NetworkDriftRepaired",
    { [drift]: firstEvent },
    { ...on, kind: "changed-rules" },
    "somebody changed the guests' network on h1: changed-rules, repaired",
  ),
  silent("NetworkDriftRepaired", "is over a quarter of an hour later", { [drift]: longAgo }, 30),
  fires(
    "FrontDriftRepaired",
    { [frontDrift]: firstEvent },
    { ...on, kind: "caddy-moved" },
    "somebody changed the front on h1: caddy-moved, undone",
  ),
  silent("FrontDriftRepaired", "without a repair", { [frontDrift]: never }),
  fires("CaddyNotInLine", { [caddy]: "1x5 0x20" }, of("proxy"), "Caddy on h1 does not run the desired configuration"),
  silent("CaddyNotInLine", "at a restart", { [caddy]: "1x12 0x0 1x20" }, 13),
  fires(
    "HostPostureRed",
    { [control("fail", "true")]: "0x5 2x20" },
    { ...of("vm"), verdict: "fail", required: "true" },
    "2 required controls of h1 are fail",
  ),
  silent("HostPostureRed", "for what is waived or not required", {
    [control("waived", "true")]: "3x20",
    [control("fail", "false")]: "1x20",
  }),
  fires("GuestMisbehaves", { [misbehaviours]: firstEvent }, on, "a guest on h1 answered outside its contract"),
  silent("GuestMisbehaves", "after a restart of the service", { [misbehaviours]: "5x5 0x20" }),
  fires(
    "SealedStateRefused",
    { [failed("ROLLBACK")]: firstEvent },
    { ...on, error_type: "ROLLBACK" },
    "a sealed state on h1 is not the one that was sealed last: ROLLBACK",
  ),
  silent("SealedStateRefused", "for another failure", {
    [failed("ROLLBACK")]: never,
    [failed("MACHINE_DIFFERS")]: firstEvent,
  }),
  fires(
    "InjectionLeaseAlarm",
    { [leases]: firstEvent },
    on,
    "more injection leases were asked for than an ordinary host asks for: somebody may be collecting secrets",
  ),
  silent("InjectionLeaseAlarm", "without an alarm", { [leases]: never }),
  fires(
    "AuditNotAccepting",
    { [accepting]: "1x5 0x20" },
    of("audit"),
    "the audit log takes no records: calls that give rights are refused",
  ),
  silent("AuditNotAccepting", "while it accepts", { [accepting]: "1x20" }),
  fires(
    "AuditCheckpointsLate",
    { [lag]: "0x5 30+60x20" },
    { ...of("audit"), store: "url" },
    "checkpoints have not reached url for 510 s",
  ),
  silent("AuditCheckpointsLate", "within its bound", { [lag]: "0x5 59x20" }),
  fires(
    "AuditSpoolNotDelivered",
    { [spoolAge]: "0x5 0+60x20" },
    of("net"),
    "records of lobsterd/net have waited for audit for 480 s",
  ),
  silent("AuditSpoolNotDelivered", "during a restart of audit", { [spoolAge]: "0x5 60x1 0x20" }, 7),
  fires(
    "AuditRecordsRefused",
    { [spool("refused")]: "0x5 2x20" },
    { ...of("net"), state: "refused" },
    "audit refused 2 records of lobsterd/net as invalid; they are kept in its spool",
  ),
  silent("AuditRecordsRefused", "for records that wait", { [spool("waiting")]: "7x20", [spool("refused")]: "0x20" }),
  fires("AuditRecordsLost", { [lost]: firstEvent }, of("vm"), "lobsterd/vm could keep a record nowhere but in its log"),
  silent("AuditRecordsLost", "without a loss", { [lost]: never }),
  fires(
    "AuditSlow",
    { [append("0.5")]: "0+10x30", [append("1")]: "0+20x30", [append("+Inf")]: "0+20x30" },
    {},
    "appends take 0.99 s at the 99th percentile: every recorded call waits that long",
    20,
  ),
  silent(
    "AuditSlow",
    "while appends are fast",
    { [append("0.5")]: "0+20x30", [append("1")]: "0+20x30", [append("+Inf")]: "0+20x30" },
    20,
  ),
  fires(
    "TenantFailed",
    { [tenantsIn("failed")]: "0x5 1x20", [tenantsIn("running")]: "3x25" },
    { ...of("vm"), state: "failed" },
    "1 tenants on h1 have lost their microVM",
  ),
  silent("TenantFailed", "while all run", { [tenantsIn("failed")]: "0x20", [tenantsIn("running")]: "3x20" }),
  fires(
    "SpawnsFail",
    { [failed("BOOT_FAILED")]: "0x4 3x20" },
    { ...on, error_type: "BOOT_FAILED" },
    "3 operations on h1 failed with BOOT_FAILED",
    15,
  ),
  silent(
    "SpawnsFail",
    "for what callers do wrong",
    { [failed("TENANT_EXISTS")]: "0x4 50x20", [failed("BOOT_FAILED")]: "0x4 1x20" },
    15,
  ),
  fires(
    "WakesFail",
    { [wakes("failed")]: "0x4 3x20" },
    on,
    "3 sleeping tenants on h1 could not be woken: their requests were answered with an error",
    15,
  ),
  silent(
    "WakesFail",
    "for wakes that a budget refuses",
    { [wakes("refused-by-tenant-budget")]: "0+5x20", [wakes("failed")]: never },
    15,
  ),
  fires(
    "EvictionIncomplete",
    { [failed("EVICTION_INCOMPLETE")]: firstEvent },
    on,
    "an evicted tenant on h1 is cut off but not removed",
  ),
  silent("EvictionIncomplete", "for another failure", {
    [failed("TENANT_NOT_FOUND")]: firstEvent,
    [failed("EVICTION_INCOMPLETE")]: never,
  }),
  fires("HostFull", { [failed("HOST_FULL")]: firstEvent }, on, "h1 refuses tenants for want of room"),
  silent("HostFull", "while there is room", { [failed("HOST_FULL")]: never }),
  fires(
    "HostNearlyFull",
    { [capacity("held")]: "95x20", [capacity("limit")]: "100x20" },
    { ...of("vm"), resource: "memory_mib" },
    "memory_mib of h1 is nearly all held",
  ),
  silent("HostNearlyFull", "at nine tenths", { [capacity("held")]: "90x20", [capacity("limit")]: "100x20" }),
  fires(
    "ConnectionTableNearlyFull",
    { [connections("held")]: "85x20", [connections("limit")]: "100x20" },
    of("net"),
    "the connection table of h1 is nearly full; a full one drops every new connection",
  ),
  silent("ConnectionTableNearlyFull", "for a minute", {
    [connections("held")]: "10x12 85x1 10x20",
    [connections("limit")]: "100x40",
  }),
  fires(
    "GuestIdentityNotRenewed",
    { [renewals("failed")]: "0+1x20" },
    on,
    "identities of guests on h1 are not renewed; one lasts an hour",
    16,
  ),
  silent("GuestIdentityNotRenewed", "for one guest that hangs once", {
    [renewals("failed")]: firstEvent,
    [renewals("done")]: "0+4x30",
  }),
  fires("SecretsNotRotated", { [rotations]: firstEvent }, on, "a running guest is behind with its secrets"),
  silent("SecretsNotRotated", "without one", { [rotations]: never }),
  fires(
    "RootKeyUnavailable",
    { [rootKey]: "1x5 0x20" },
    of("secrets"),
    "the root key cannot be used: secrets stay sealed, and tenants cannot be spawned",
  ),
  silent("RootKeyUnavailable", "while it is there", { [rootKey]: "1x20" }),
  // promtool's clock begins at 0: a certificate of an hour, at its 50th minute.
  fires(
    "CertificateExpires",
    { [certificate("before")]: "0x60", [certificate("after")]: "3600x60" },
    of("vm"),
    "the certificate of lobsterd/vm has less than a fifth of its life left and was not renewed",
    55,
  ),
  silent(
    "CertificateExpires",
    "at half of its life",
    { [certificate("before")]: "0x60", [certificate("after")]: "3600x60" },
    30,
  ),
  fires("BrokerDown", { [broker]: "1x5 0x20" }, of("vm"), "lobsterd/vm has no connection to the event broker"),
  silent("BrokerDown", "at a restart of the broker", { [broker]: "1x12 0x0 1x20" }),
  fires(
    "EventsDropped",
    { [dropped]: firstEvent },
    of("vm"),
    "lobsterd/vm dropped events: those who wait for hints learn of changes late",
  ),
  silent("EventsDropped", "without one", { [dropped]: never }),
  fires(
    "CallsFail",
    { [calls("OK")]: "0+9x30", [calls("INTERNAL")]: "0+1x30" },
    of("net"),
    "10% of the calls to lobsterd/net fail by its own fault",
    20,
  ),
  silent(
    "CallsFail",
    "for what callers do wrong",
    { [calls("OK")]: "0+9x30", [calls("INTERNAL")]: "0x30", [calls("INVALID_ARGUMENT")]: "0+9x30" },
    20,
  ),
  fires(
    "ServiceSilent",
    { ...others, [alive("vm")]: "1x5" },
    { job: "lobsterd/vm" },
    "lobsterd/vm exports nothing: it is down, or the way from it to Prometheus is",
    20,
  ),
  silent("ServiceSilent", "while all export", { ...others, [alive("vm")]: "1x60" }, 20),
];
