import { create } from "@bufbuild/protobuf";
import type { HandlerContext } from "@connectrpc/connect";
import { callerName, callerOf } from "@lobsterd/chassis/caller.ts";
import {
  type GetLatestOwnRecordRequest,
  type GetLatestOwnRecordResponse,
  GetLatestOwnRecordResponseSchema,
} from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { recordMessage } from "../record-message.ts";
import type { AuditContext } from "../service.ts";

export function getLatestOwnRecord({ log }: AuditContext) {
  return async (
    { tenant, action }: GetLatestOwnRecordRequest,
    context: HandlerContext,
  ): Promise<GetLatestOwnRecordResponse> => {
    const record = await log.latest({ tenant, action, writer: callerName(callerOf(context)) });
    return create(GetLatestOwnRecordResponseSchema, record === undefined ? {} : { record: recordMessage(record) });
  };
}
