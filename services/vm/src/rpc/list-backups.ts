import { create } from "@bufbuild/protobuf";
import { decodePageToken, encodePageToken, pageSizeOf } from "@lobsterd/chassis/pages.ts";
import {
  type ListBackupsRequest,
  type ListBackupsResponse,
  ListBackupsResponseSchema,
} from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { toBackupMessage, toBackupWorkMessage } from "../backup-message.ts";
import type { VmContext } from "../service.ts";

export function listBackups({ backups }: Pick<VmContext, "backups">) {
  return (request: ListBackupsRequest): ListBackupsResponse => {
    const size = pageSizeOf(request);
    const before = Number(decodePageToken(request.page?.pageToken ?? "")) || Number.MAX_SAFE_INTEGER;
    const found = backups.list(request.name, before, size + 1);
    const shown = found.backups.slice(0, size);
    const last = shown.at(-1);
    const nextPageToken =
      found.backups.length > size && last !== undefined ? encodePageToken(String(last.sequence)) : "";
    return create(ListBackupsResponseSchema, {
      backups: shown.map((backup) => toBackupMessage(backup, request.name)),
      page: { nextPageToken },
      work: found.work.map(toBackupWorkMessage),
    });
  };
}
