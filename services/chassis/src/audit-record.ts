import { randomUUID } from "node:crypto";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { type RecordDraftSchema, RecordOutcome, RecordPhase } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import type { AuditEntry } from "./audit.ts";

const writerBootId = randomUUID();
let lastNumber = 0;

/** The place of a record among those of this run of the process: a number that audit never gets is a record that was lost. */
export function nextNumber(): Pick<AuditEntry, "writerBootId" | "writerSequence"> {
  lastNumber += 1;
  return { writerBootId, writerSequence: lastNumber };
}

/** The wire form. A value outside a field's form came from an unchecked request; it is left out rather than losing the record. */
export function recordDraft(entry: AuditEntry, serviceVersion: string): MessageInitShape<typeof RecordDraftSchema> {
  const keep = (value: string, form: RegExp) => (form.test(value) ? value : "");
  const spiffe = /^spiffe:\/\/[a-z0-9./-]{1,240}$/;
  return {
    eventId: entry.eventId,
    time: timestampFromDate(entry.time),
    actor: keep(entry.actor, spiffe),
    onBehalfOf: keep(entry.onBehalfOf, spiffe),
    action: entry.action,
    tenant: keep(entry.tenant, /^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$/),
    resource: keep(entry.resource, /^[A-Za-z0-9._:/-]{0,128}$/),
    phase: entry.phase === "intent" ? RecordPhase.INTENT : RecordPhase.OUTCOME,
    outcome: outcomes[entry.outcome],
    reason: keep(entry.reason, /^[A-Z][A-Z0-9_]{0,63}$/),
    requestDigest: keep(entry.requestDigest, /^[0-9a-f]{64}$/),
    traceId: keep(entry.traceId, /^[0-9a-f]{32}$/),
    generation: Number.isInteger(entry.generation) && entry.generation >= 0 ? entry.generation : 0,
    serviceVersion: keep(serviceVersion, /^[A-Za-z0-9.+-]{0,64}$/),
    writerBootId: entry.writerBootId,
    writerSequence: BigInt(entry.writerSequence),
  };
}

const outcomes = {
  unspecified: RecordOutcome.UNSPECIFIED,
  success: RecordOutcome.SUCCESS,
  failure: RecordOutcome.FAILURE,
  refused: RecordOutcome.REFUSED,
  unknown: RecordOutcome.UNKNOWN,
} as const;
