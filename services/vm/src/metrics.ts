import { defineMetrics } from "@lobsterd/chassis/metrics.ts";
import { fail } from "./errors.ts";
import { repairActions, tenantFaults } from "./repair/names.ts";

/** What `vm` exports beside what every service does. */
export const vmMetrics = defineMetrics({
  operations: {
    name: "lobsterd.vm.operation.duration",
    kind: "histogram",
    unit: "s",
    description: "Operations on tenants from their beginning to their end, whether or not the caller waited",
    attributes: { operation: { boundedBy: "the methods of TenantOperations" }, outcome: ["done", "failed"] },
  },
  failures: {
    name: "lobsterd.vm.operations_failed",
    kind: "counter",
    unit: "{operation}",
    description: "Operations that failed, by vm's own reasons; what a peer or a bug said is `other`",
    attributes: { "error.type": fail.reasons },
  },
  steps: {
    name: "lobsterd.vm.step.duration",
    kind: "histogram",
    unit: "s",
    description: "Steps of the journal",
    attributes: { step: { boundedBy: "the journal's steps" }, outcome: ["done", "failed"] },
  },
  tenants: {
    name: "lobsterd.vm.tenants",
    kind: "gauge",
    unit: "{tenant}",
    description: "Tenants by state",
    attributes: { state: { boundedBy: "the states of a tenant" } },
  },
  bootsWaiting: {
    name: "lobsterd.vm.boots_waiting",
    kind: "gauge",
    unit: "{boot}",
    description: "Boots that wait for a place",
  },
  capacity: {
    name: "lobsterd.vm.capacity",
    kind: "gauge",
    unit: "",
    description: "What this host admits, and what its tenants hold of it, in the resource's own unit",
    attributes: { resource: ["vcpus", "memory_mib", "disk_mib", "connections", "slots"], what: ["limit", "held"] },
  },
  controls: {
    name: "lobsterd.vm.host_controls",
    kind: "gauge",
    unit: "{control}",
    description: "Rows of the host's posture, by verdict",
    attributes: { verdict: ["pass", "fail", "unknown", "waived", "not-applicable"], required: ["true", "false"] },
  },
  misbehaviours: {
    name: "lobsterd.vm.guest_misbehaviours",
    kind: "counter",
    unit: "{answer}",
    description: "Answers of guests outside their contract",
  },
  wakes: {
    name: "lobsterd.vm.wakes",
    kind: "counter",
    unit: "{wake}",
    description: "Wakes of tenants for requests and schedules, by how they ended",
    attributes: { outcome: ["woken", "refused-by-host-budget", "refused-by-tenant-budget", "failed"] },
  },
  tenantsFailed: {
    name: "lobsterd.vm.tenants_failed",
    kind: "counter",
    unit: "{tenant}",
    description: "Tenants that were given up, by reason",
    attributes: { reason: tenantFaults },
  },
  repairs: {
    name: "lobsterd.vm.repairs",
    kind: "counter",
    unit: "{repair}",
    description: "What was given back to tenants that missed it, by action and outcome",
    attributes: { action: repairActions, outcome: ["success", "failure"] },
  },
  guestStarts: {
    name: "lobsterd.vm.guest_starts",
    kind: "counter",
    unit: "{start}",
    description: "Guests that were started from their disk, by what they began with",
    attributes: { what: ["kernel", "template"] },
  },
  renewals: {
    name: "lobsterd.vm.identity_renewals",
    kind: "counter",
    unit: "{renewal}",
    description: "Renewals of guests' identities",
    attributes: { outcome: ["done", "failed"] },
  },
});
