import { create } from "@bufbuild/protobuf";
import { type GetCheckpointResponse, GetCheckpointResponseSchema } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import type { AuditContext } from "../service.ts";

export function getCheckpoint({ checkpointer }: AuditContext) {
  return (): GetCheckpointResponse => create(GetCheckpointResponseSchema, { signedNote: checkpointer.newest() });
}
