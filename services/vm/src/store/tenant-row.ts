import type { SQLOutputValue } from "node:sqlite";
import { z } from "zod";
import { idlePolicySchema } from "../idle/policy.ts";
import { egressSchema, networkLimitsSchema } from "../network-policy.ts";
import { bootOriginSchema, phaseSchema, sleepCauseSchema, type TenantRecord } from "./tenant-record.ts";

const rowSchema = z.object({
  name: z.string(),
  owner: z.string(),
  vm_id: z.string(),
  request_id: z.string(),
  state: phaseSchema,
  failure_reason: z.string(),
  slot: z.number(),
  generation: z.number(),
  image: z.string(),
  vcpu_count: z.number(),
  memory_mib: z.number(),
  disk_mib: z.number(),
  labels: z.string(),
  egress: z.string(),
  replaced_egress: z.string().nullable(),
  network_limits: z.string(),
  extra_host_names: z.string(),
  guest_address: z.string(),
  boot_origin: bootOriginSchema,
  create_time_ms: z.number(),
  ready_time_ms: z.number().nullable(),
  settled_generation: z.number(),
  seal_counter: z.number(),
  sleep_request_id: z.string(),
  sleep_cause: sleepCauseSchema,
  idle_policy: z.string(),
  run_time_ms: z.number(),
  wake_time_ms: z.number().nullable(),
  served_through_ms: z.number(),
  limits_pending: z.number(),
  next_vcpu_count: z.number().nullable(),
  next_memory_mib: z.number().nullable(),
  wrapped_disk_key: z.instanceof(Uint8Array).nullable(),
});

/** A whole row of the table `tenant`. */
export function toRecord(row: Record<string, SQLOutputValue>): TenantRecord {
  const columns = rowSchema.parse(row);
  return {
    name: columns.name,
    owner: columns.owner,
    vmId: columns.vm_id,
    requestId: columns.request_id,
    phase: columns.state,
    failureReason: columns.failure_reason,
    slot: columns.slot,
    generation: columns.generation,
    settledGeneration: columns.settled_generation,
    image: columns.image,
    resources: { vcpuCount: columns.vcpu_count, memoryMib: columns.memory_mib, diskMib: columns.disk_mib },
    labels: z.record(z.string(), z.string()).parse(JSON.parse(columns.labels)),
    egress: egressSchema.parse(JSON.parse(columns.egress)),
    replacedEgress:
      columns.replaced_egress === null ? undefined : egressSchema.parse(JSON.parse(columns.replaced_egress)),
    networkLimits: networkLimitsSchema.parse(JSON.parse(columns.network_limits)),
    extraHostNames: z.array(z.string()).parse(JSON.parse(columns.extra_host_names)),
    guestAddress: columns.guest_address,
    bootOrigin: columns.boot_origin,
    createTimeMs: columns.create_time_ms,
    readyTimeMs: columns.ready_time_ms ?? undefined,
    sealCounter: columns.seal_counter,
    sleepRequestId: columns.sleep_request_id,
    sleepCause: columns.sleep_cause,
    idlePolicy: idlePolicySchema.parse(JSON.parse(columns.idle_policy)),
    runTimeMs: columns.run_time_ms,
    wakeTimeMs: columns.wake_time_ms ?? undefined,
    servedThroughMs: columns.served_through_ms,
    areLimitsPending: columns.limits_pending !== 0,
    wrappedDiskKey: columns.wrapped_disk_key ?? undefined,
    nextResources:
      columns.next_vcpu_count === null || columns.next_memory_mib === null
        ? undefined
        : { vcpuCount: columns.next_vcpu_count, memoryMib: columns.next_memory_mib },
  };
}
