import { create, toBinary } from "@bufbuild/protobuf";
import {
  type RestoreBackupRequest,
  RestoreBackupRequestSchema,
  type RestoreBackupResponse,
  RestoreBackupResponseSchema,
} from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { VmContext } from "../service.ts";
import { toTenantMessage } from "../tenant-message.ts";

/** It goes on when the caller goes away, so the call's signal is not passed on. */
export function restoreBackup({ config, requests, backups }: VmContext) {
  return (request: RestoreBackupRequest): Promise<RestoreBackupResponse> =>
    requests.run(
      request.requestId,
      "RestoreBackup",
      toBinary(RestoreBackupRequestSchema, request),
      RestoreBackupResponseSchema,
      async () => {
        const tenant = await backups.restore(request.requestId, request.name, request.backupId);
        return create(RestoreBackupResponseSchema, { tenant: toTenantMessage(tenant, config) });
      },
    );
}
