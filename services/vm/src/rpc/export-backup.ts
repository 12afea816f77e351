import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { create } from "@bufbuild/protobuf";
import type { HandlerContext } from "@connectrpc/connect";
import {
  type ExportBackupRequest,
  type ExportBackupResponse,
  ExportBackupResponseSchema,
} from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { toBackupMessage } from "../backup-message.ts";
import type { VmContext } from "../service.ts";

const pieceBytes = 256 * 1024;

/** The file as it is: what leaves is sealed. One that is deleted meanwhile is read to its end. */
export function exportBackup({ backups }: Pick<VmContext, "backups">) {
  return async function* (
    { name, backupId }: Pick<ExportBackupRequest, "name" | "backupId">,
    { signal }: Pick<HandlerContext, "signal">,
  ): AsyncGenerator<ExportBackupResponse> {
    const { backup, path } = backups.find(name, backupId);
    await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    yield create(ExportBackupResponseSchema, { message: { case: "backup", value: toBackupMessage(backup, name) } });
    for (let sent = 0; sent < backup.sizeBytes && !signal.aborted; ) {
      const { bytesRead, buffer } = await file.read(Buffer.alloc(pieceBytes), 0, pieceBytes, sent);
      if (bytesRead === 0) return;
      sent += bytesRead;
      yield create(ExportBackupResponseSchema, {
        message: { case: "content", value: buffer.subarray(0, bytesRead) },
      });
    }
  };
}
