import { randomUUID } from "node:crypto";
import { CreateBackupResponseSchema } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { showBackupProgress } from "../backup-progress.ts";
import { backupText, backupTimeoutMs } from "../backup-text.ts";
import type { Command } from "../command.ts";
import { exitStatus } from "../failure.ts";
import { requestIdOption, tenantOperand } from "../operands.ts";
import { show } from "../show.ts";

export const backupCreate: Command = {
  name: "backup create",
  summary: "make a sealed copy of the disk of a running or suspended tenant",
  operands: [tenantOperand],
  options: { "request-id": requestIdOption },
  notes: `The tenant goes on. How far it is is shown on standard error when that is a terminal. The backup goes on when this command is interrupted; with the
same --request-id it waits for the same backup again.`,
  async run(words, context) {
    const name = words.operand("TENANT");
    const request = { requestId: words.text("request-id") ?? randomUUID(), name };
    const options = { signal: context.signal, timeoutMs: backupTimeoutMs(words) };
    const answer = await showBackupProgress(context, { name, doing: "backing up" }, () =>
      context.clients.tenants.createBackup(request, options),
    );
    await show(context, CreateBackupResponseSchema, answer, () => backupText(answer.backup));
    return exitStatus.ok;
  },
};
