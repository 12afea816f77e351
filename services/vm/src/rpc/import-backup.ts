import { create } from "@bufbuild/protobuf";
import type { HandlerContext } from "@connectrpc/connect";
import {
  type ImportBackupRequest,
  type ImportBackupResponse,
  ImportBackupResponseSchema,
} from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { toBackupMessage } from "../backup-message.ts";
import { fail } from "../errors.ts";
import type { VmContext } from "../service.ts";

/** It needs its caller, who has the file: it ends when the caller goes away, and repeated it begins again. */
export function importBackup({ backups }: Pick<VmContext, "backups">) {
  return async (
    requests: AsyncIterable<ImportBackupRequest>,
    { signal }: Pick<HandlerContext, "signal">,
  ): Promise<ImportBackupResponse> => {
    const messages = requests[Symbol.asyncIterator]();
    const first = await messages.next();
    const start = first.done === true ? undefined : first.value.message;
    if (start?.case !== "start") throw fail("IMPORT_INVALID", "the first message has to be start");
    const { requestId, name, sizeBytes } = start.value;
    const order = { requestId, name, sizeBytes: Number(sizeBytes) };
    const backup = await backups.import(order, contentOf(messages), signal);
    return create(ImportBackupResponseSchema, { backup: toBackupMessage(backup, name) });
  };
}

async function* contentOf(messages: AsyncIterator<ImportBackupRequest>): AsyncGenerator<Uint8Array> {
  for (let next = await messages.next(); next.done !== true; next = await messages.next()) {
    const { message } = next.value;
    if (message.case !== "content") throw fail("IMPORT_INVALID", "after start there is only content");
    yield message.value;
  }
}
