import type { TenantRecord } from "./tenant-record.ts";

/** A tenant as tests need it where most of it does not matter: running under generation 2 in slot 3. */
export function exampleTenant(facts: Partial<TenantRecord> & Pick<TenantRecord, "name" | "vmId">): TenantRecord {
  return {
    owner: "",
    requestId: "",
    phase: "running",
    failureReason: "",
    slot: 3,
    generation: 2,
    image: "base",
    resources: { vcpuCount: 1, memoryMib: 256, diskMib: 64 },
    labels: {},
    egress: { mode: "internet" },
    replacedEgress: undefined,
    networkLimits: { sentKbits: 0, receivedKbits: 0, sentPackets: 0, receivedPackets: 0 },
    extraHostNames: [],
    guestAddress: "10.201.0.7",
    bootOrigin: "kernel",
    createTimeMs: 0,
    readyTimeMs: undefined,
    settledGeneration: facts.generation ?? 2,
    sealCounter: 0,
    sleepRequestId: "",
    sleepCause: "",
    idlePolicy: { mode: "manual" },
    runTimeMs: 0,
    wakeTimeMs: undefined,
    servedThroughMs: 0,
    nextResources: undefined,
    areLimitsPending: false,
    wrappedDiskKey: undefined,
    ...facts,
  };
}
