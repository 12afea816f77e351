import { create, toBinary } from "@bufbuild/protobuf";
import {
  type DeleteBackupRequest,
  DeleteBackupRequestSchema,
  type DeleteBackupResponse,
  DeleteBackupResponseSchema,
} from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { VmContext } from "../service.ts";

export function deleteBackup({ requests, backups }: VmContext) {
  return (request: DeleteBackupRequest): Promise<DeleteBackupResponse> =>
    requests.run(
      request.requestId,
      "DeleteBackup",
      toBinary(DeleteBackupRequestSchema, request),
      DeleteBackupResponseSchema,
      async () => {
        await backups.delete(request.requestId, request.name, request.backupId);
        return create(DeleteBackupResponseSchema);
      },
    );
}
