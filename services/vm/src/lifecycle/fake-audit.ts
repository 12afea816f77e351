/** `audit` in memory, as far as its log is read back. */
import { create } from "@bufbuild/protobuf";
import type { AuditEntry } from "@lobsterd/chassis/audit.ts";
import { recordDraft } from "@lobsterd/chassis/audit-record.ts";
import { GetLatestOwnRecordResponseSchema } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { type AskedFailures, failAsAsked } from "./fake-failures.ts";
import type { HostParts } from "./host-parts.ts";

export interface FakeAudit {
  /** What it was told, in order. It outlives the runs, and is not put back with a store. */
  readonly audited: AuditEntry[];
}

export function fakeAudit(state: FakeAudit & AskedFailures): HostParts["audit"] {
  const { attempt } = failAsAsked(state);
  return {
    getLatestOwnRecord: async ({ tenant, action }) => {
      attempt("getLatestOwnRecord");
      const entry = state.audited.findLast((known) => known.tenant === tenant && known.action === action);
      return create(GetLatestOwnRecordResponseSchema, entry && { record: { draft: recordDraft(entry, "") } });
    },
  };
}
