import { randomUUID } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  type ImportBackupRequestSchema,
  ImportBackupResponseSchema,
} from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { showBackupProgress } from "../backup-progress.ts";
import { backupText, backupTimeoutMs } from "../backup-text.ts";
import type { Command } from "../command.ts";
import { exitStatus } from "../failure.ts";
import { requestIdOption, tenantOperand } from "../operands.ts";
import { show } from "../show.ts";

const pieceBytes = 256 * 1024;

export const backupImport: Command = {
  name: "backup import",
  summary: "give an exported file back among the backups of its tenant",
  operands: [tenantOperand, { name: "FILE", help: "what backup export wrote" }],
  options: { "request-id": requestIdOption },
  async run(words, context) {
    const name = words.operand("TENANT");
    const requestId = words.text("request-id") ?? randomUUID();
    await using file = await open(words.operand("FILE"), "r");
    const options = { signal: context.signal, timeoutMs: backupTimeoutMs(words) };
    const answer = await showBackupProgress(context, { name, doing: "importing for" }, () =>
      context.clients.tenants.importBackup(requestsFor(file, { requestId, name }), options),
    );
    await show(context, ImportBackupResponseSchema, answer, () => backupText(answer.backup));
    return exitStatus.ok;
  },
};

async function* requestsFor(
  file: FileHandle,
  { requestId, name }: { readonly requestId: string; readonly name: string },
): AsyncGenerator<MessageInitShape<typeof ImportBackupRequestSchema>> {
  const { size } = await file.stat();
  yield { message: { case: "start", value: { requestId, name, sizeBytes: BigInt(size) } } };
  for (let sent = 0; sent < size; ) {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(pieceBytes), 0, pieceBytes, sent);
    if (bytesRead === 0) return;
    sent += bytesRead;
    yield { message: { case: "content", value: buffer.subarray(0, bytesRead) } };
  }
}
