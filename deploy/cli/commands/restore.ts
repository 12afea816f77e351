import { randomUUID } from "node:crypto";
import { RestoreBackupResponseSchema } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { showBackupProgress } from "../backup-progress.ts";
import { backupTimeoutMs } from "../backup-text.ts";
import type { Command } from "../command.ts";
import { exitStatus } from "../failure.ts";
import { backupOperand, requestIdOption, tenantOperand } from "../operands.ts";
import { show } from "../show.ts";
import { tenantText } from "../tenant-text.ts";

export const restore: Command = {
  name: "restore",
  summary: "boot a tenant from a backup: its own tenant in its place, or a new one",
  operands: [
    { ...tenantOperand, help: "the backup's own tenant, suspended or failed; or a name that nobody has" },
    backupOperand,
  ],
  options: { "request-id": requestIdOption },
  notes: `In its own place a tenant's disk and memory are given up for the backup. A new tenant has the disk, and keys, an identity and secrets of its own.`,
  async run(words, context) {
    const name = words.operand("TENANT");
    const requestId = words.text("request-id") ?? randomUUID();
    const request = { requestId, name, backupId: words.operand("BACKUP") };
    const options = { signal: context.signal, timeoutMs: backupTimeoutMs(words) };
    const answer = await showBackupProgress(context, { name, doing: "restoring" }, () =>
      context.clients.tenants.restoreBackup(request, options),
    );
    await show(context, RestoreBackupResponseSchema, answer, () => tenantText(answer.tenant));
    return exitStatus.ok;
  },
};
