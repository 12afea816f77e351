import { create } from "@bufbuild/protobuf";
import type { HandlerContext } from "@connectrpc/connect";
import { callerName, callerOf } from "@lobsterd/chassis/caller.ts";
import {
  type AppendRecordRequest,
  type AppendRecordResponse,
  AppendRecordResponseSchema,
} from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { draftOf } from "../record-message.ts";
import type { AuditContext } from "../service.ts";

export function appendRecord({ log }: AuditContext) {
  return async (request: AppendRecordRequest, context: HandlerContext): Promise<AppendRecordResponse> => {
    const receipt = await log.append(draftOf(request.record), callerName(callerOf(context)));
    return create(AppendRecordResponseSchema, {
      sequence: BigInt(receipt.sequence),
      leafHash: receipt.leafHash,
      treeSize: BigInt(receipt.treeSize),
    });
  };
}
