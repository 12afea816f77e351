import { create } from "@bufbuild/protobuf";
import { type Timestamp, TimestampSchema } from "@bufbuild/protobuf/wkt";
import {
  type RecordDraft,
  type Record as RecordMessage,
  RecordOutcome,
  RecordPhase,
  RecordSchema,
} from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { fail } from "./errors.ts";
import type { StoredRecord } from "./log/audit-log.ts";
import type { Draft, Instant } from "./log/canonical.ts";

// Range of google.protobuf.Timestamp: years 1 to 9999.
const firstSecond = -62_135_596_800n;
const lastSecond = 253_402_300_799n;

/** The draft in a validated request. Throws INVALID_RECORD for what the proto's rules cannot say. */
export function draftOf(message: RecordDraft | undefined): Draft {
  if (message?.time === undefined) throw fail("INVALID_RECORD", "record and its time are required");
  const { actor, action, tenant, resource, phase, outcome, reason, requestDigest, traceId, generation } = message;
  const { serviceVersion, onBehalfOf, writerBootId } = message;
  if ((phase === RecordPhase.INTENT) !== (outcome === RecordOutcome.UNSPECIFIED)) {
    throw fail("INVALID_RECORD", "an intent has no outcome, and an outcome has one", {
      metadata: { field: "record.outcome" },
    });
  }
  return {
    // A UUID is the same one in either case, and the same event must not be recorded twice.
    eventId: message.eventId.toLowerCase(),
    time: instantFrom(message.time, "record.time"),
    ...{ actor, action, tenant, resource, phase, outcome, reason, requestDigest, traceId, generation },
    ...{ serviceVersion, onBehalfOf, writerBootId },
    writerSequence: Number(message.writerSequence),
  };
}

export function recordMessage({ record, leafHash }: StoredRecord): RecordMessage {
  const { draft } = record;
  return create(RecordSchema, {
    sequence: BigInt(record.sequence),
    draft: {
      ...draft,
      phase: draft.phase as RecordPhase,
      outcome: draft.outcome as RecordOutcome,
      time: create(TimestampSchema, draft.time),
      writerSequence: BigInt(draft.writerSequence),
    },
    writer: record.writer,
    appendTime: create(TimestampSchema, record.appendTime),
    bootId: record.bootId,
    leafHash,
  });
}

/** First whole millisecond at or after a time: append times are whole milliseconds, so a range keeps its meaning. */
export function millisecondsFrom(time: Timestamp, field: string): number {
  const { seconds, nanos } = instantFrom(time, field);
  return Number(seconds) * 1000 + Math.ceil(nanos / 1_000_000);
}

function instantFrom({ seconds, nanos }: Timestamp, field: string): Instant {
  if (seconds < firstSecond || seconds > lastSecond || nanos < 0 || nanos > 999_999_999) {
    throw fail("INVALID_RECORD", `${field} is not a time`, { metadata: { field } });
  }
  return { seconds, nanos };
}
