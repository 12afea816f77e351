import { create, toBinary } from "@bufbuild/protobuf";
import {
  type CreateBackupRequest,
  CreateBackupRequestSchema,
  type CreateBackupResponse,
  CreateBackupResponseSchema,
} from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { toBackupMessage } from "../backup-message.ts";
import type { VmContext } from "../service.ts";

/** It goes on when the caller goes away, so the call's signal is not passed on. */
export function createBackup({ requests, backups }: VmContext) {
  return (request: CreateBackupRequest): Promise<CreateBackupResponse> =>
    requests.run(
      request.requestId,
      "CreateBackup",
      toBinary(CreateBackupRequestSchema, request),
      CreateBackupResponseSchema,
      async () => {
        const backup = await backups.create(request.requestId, request.name);
        return create(CreateBackupResponseSchema, { backup: toBackupMessage(backup, request.name) });
      },
    );
}
