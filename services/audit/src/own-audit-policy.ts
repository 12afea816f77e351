import { create } from "@bufbuild/protobuf";
import type { AuditEntry, AuditPolicy, AuditSink } from "@lobsterd/chassis/audit.ts";
import { recordDraft } from "@lobsterd/chassis/audit-record.ts";
import { RecordDraftSchema } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import type { AuditLog } from "./log/audit-log.ts";
import { draftOf } from "./record-message.ts";

/**
 * Audit records its own calls too: who took the whole log, and who was refused. It needs no spool: it is its own disk that a record waits for, and
 * without it the process ends.
 */
export function createOwnAuditPolicy(log: AuditLog, self: string, serviceVersion: string): AuditPolicy {
  const sink: AuditSink = {
    async append(entry: AuditEntry) {
      await log.append(draftOf(create(RecordDraftSchema, recordDraft(entry, serviceVersion))), self);
    },
  };
  const describe = () => ({ tenant: "", resource: "log" });
  return {
    sink,
    spool: sink,
    methods: {
      TailRecords: { kind: "widening", describe },
      ExportRecords: { kind: "widening", describe },
    },
  };
}
