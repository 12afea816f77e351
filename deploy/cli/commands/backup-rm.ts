import { randomUUID } from "node:crypto";
import { DeleteBackupResponseSchema } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { Command } from "../command.ts";
import { exitStatus } from "../failure.ts";
import { backupOperand, requestIdOption, tenantOperand } from "../operands.ts";
import { printable } from "../printable.ts";
import { show } from "../show.ts";

export const backupRm: Command = {
  name: "backup rm",
  summary: "delete a backup",
  operands: [tenantOperand, backupOperand],
  options: { "request-id": requestIdOption },
  async run(words, context) {
    const backupId = words.operand("BACKUP");
    const request = { requestId: words.text("request-id") ?? randomUUID(), name: words.operand("TENANT"), backupId };
    const answer = await context.clients.tenants.deleteBackup(request, { signal: context.signal });
    await show(context, DeleteBackupResponseSchema, answer, () => `deleted ${printable(backupId)}\n`);
    return exitStatus.ok;
  },
};
