import { defineRoutes, type Routes, unimplemented } from "@lobsterd/chassis/routes.ts";
import { AuditService } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { appendRecord } from "./rpc/append-record.ts";
import { queryRecords } from "./rpc/query-records.ts";
import type { AuditContext } from "./service.ts";

/** Every RPC of `audit` and what answers it. There is none that changes or removes a record. */
export function createRoutes(context: AuditContext): readonly Routes[] {
  return [
    defineRoutes(AuditService, {
      appendRecord: appendRecord(context),
      queryRecords: queryRecords(context),
      tailRecords: unimplemented,
      getCheckpoint: unimplemented,
      getInclusionProof: unimplemented,
      getConsistencyProof: unimplemented,
      exportRecords: unimplemented,
    }),
  ];
}
