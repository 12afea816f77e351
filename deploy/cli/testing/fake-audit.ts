import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { defineRoutes, type Routes, unimplemented } from "@lobsterd/chassis/routes.ts";
import { AuditService, RecordOutcome, RecordPhase, RecordSchema } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";

export interface FakeAudit {
  /** Records of its log. */
  recordCount: number;
}

export function auditRoutes(state: FakeAudit): Routes {
  const record = (sequence: number) =>
    create(RecordSchema, {
      sequence: BigInt(sequence),
      writer: "spiffe://test/svc/vm",
      draft: {
        ...{ action: "SpawnTenant", tenant: "demo", phase: RecordPhase.OUTCOME, outcome: RecordOutcome.SUCCESS },
        ...{ actor: "spiffe://test/client/operator", time: timestampFromMs(1_700_000_000_000 + sequence) },
      },
    });
  return defineRoutes(AuditService, {
    // Two records a page.
    queryRecords({ page, tenant }) {
      const first = Number(page?.pageToken || 0);
      const all = Array.from({ length: state.recordCount }, (_, index) => record(index));
      const found = all.filter(({ draft }) => tenant === "" || draft?.tenant === tenant);
      const nextPageToken = first + 2 < found.length ? String(first + 2) : "";
      return { records: found.slice(first, first + 2), page: { nextPageToken } };
    },
    getLatestOwnRecord: unimplemented,
    async *tailRecords({ startSequence }) {
      for (let sequence = Number(startSequence); sequence < state.recordCount; sequence += 1)
        yield { record: record(sequence) };
    },
    async *exportRecords({ startOffset }) {
      yield { part: { case: "log", value: Buffer.from("0123456789").subarray(Number(startOffset)) } };
      yield { part: { case: "signedNote", value: "origin\n10\nroot\n" } };
    },
    getCheckpoint: () => ({ signedNote: "origin\n3\nroot\n\n\u2014 origin signature\n" }),
    ...{ appendRecord: unimplemented, getInclusionProof: unimplemented, getConsistencyProof: unimplemented },
  });
}
