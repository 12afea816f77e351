import { defineMetrics } from "./metrics.ts";

/** What every service exports. The call metric is OpenTelemetry's own (semantic conventions for RPC): rate, errors and duration in one. */
export const chassisMetrics = defineMetrics({
  calls: {
    name: "rpc.server.call.duration",
    kind: "histogram",
    unit: "s",
    description: "Calls served, by method and code; a stream counts when it ends",
    attributes: {
      "rpc.method": { boundedBy: "methods of the protos that this service serves" },
      "rpc.response.status_code": { boundedBy: "gRPC's codes" },
    },
  },
  refusedCalls: {
    name: "lobsterd.rpc.refused_calls",
    kind: "counter",
    unit: "{call}",
    description: "Calls that the gate did not let through, before their body was read",
    attributes: { reason: ["CERTIFICATE_REQUIRED", "CERTIFICATE_INVALID", "CERTIFICATE_REVOKED", "NOT_ALLOWED"] },
  },
  recordsLost: {
    name: "lobsterd.audit.records_lost",
    kind: "counter",
    unit: "{record}",
    description: "Records that neither audit nor the spool took",
  },
  spoolRecords: {
    name: "lobsterd.audit_spool.records",
    kind: "gauge",
    unit: "{record}",
    description: "Records that wait in this service for audit, and those that audit refused and are kept",
    attributes: { state: ["waiting", "refused"] },
  },
  spoolSize: {
    name: "lobsterd.audit_spool.size",
    kind: "gauge",
    unit: "By",
    description: "What the spool holds of its 256 MiB",
  },
  spoolAge: {
    name: "lobsterd.audit_spool.age",
    kind: "gauge",
    unit: "s",
    description: "How long the oldest waiting record has waited; 0 when none does",
  },
  eventsQueued: {
    name: "lobsterd.events.queued",
    kind: "gauge",
    unit: "{event}",
    description: "Events that wait for the broker",
  },
  eventsDropped: {
    name: "lobsterd.events.dropped",
    kind: "counter",
    unit: "{event}",
    description: "Events that did not fit into the queue",
  },
  brokerConnected: {
    name: "lobsterd.events.broker_connected",
    kind: "gauge",
    unit: "",
    description: "1 while the event broker is connected, otherwise 0",
  },
  certificateNotBefore: {
    name: "lobsterd.tls.certificate_not_before",
    kind: "gauge",
    unit: "s",
    description: "When the service's own certificate, as it is on disk, began: seconds since the epoch",
  },
  certificateNotAfter: {
    name: "lobsterd.tls.certificate_not_after",
    kind: "gauge",
    unit: "s",
    description: "When the service's own certificate, as it is on disk, ends: seconds since the epoch",
  },
  memory: {
    name: "process.memory.usage",
    kind: "gauge",
    unit: "By",
    description: "Resident memory of the process",
  },
  eventLoopDelay: {
    name: "nodejs.eventloop.delay.max",
    kind: "gauge",
    unit: "s",
    description: "The longest time since the last export that the process answered nothing",
  },
});
