import { defineRoutes, type Routes } from "@lobsterd/chassis/routes.ts";
import { AuditService } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { appendRecord } from "./rpc/append-record.ts";
import { exportRecords } from "./rpc/export-records.ts";
import { getCheckpoint } from "./rpc/get-checkpoint.ts";
import { getConsistencyProof } from "./rpc/get-consistency-proof.ts";
import { getInclusionProof } from "./rpc/get-inclusion-proof.ts";
import { getLatestOwnRecord } from "./rpc/get-latest-own-record.ts";
import { queryRecords } from "./rpc/query-records.ts";
import { tailRecords } from "./rpc/tail-records.ts";
import type { AuditContext } from "./service.ts";

/** Every RPC of `audit` and what answers it. There is none that changes or removes a record. */
export function createRoutes(context: AuditContext): readonly Routes[] {
  return [
    defineRoutes(AuditService, {
      appendRecord: appendRecord(context),
      queryRecords: queryRecords(context),
      getLatestOwnRecord: getLatestOwnRecord(context),
      tailRecords: tailRecords(context),
      getCheckpoint: getCheckpoint(context),
      getInclusionProof: getInclusionProof(context),
      getConsistencyProof: getConsistencyProof(context),
      exportRecords: exportRecords(context),
    }),
  ];
}
