import { closeSync, fsyncSync, openSync, rmSync, writeSync } from "node:fs";
import type { Backup } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { backupTimeoutMs } from "../backup-text.ts";
import { type Command, type Context, UsageError } from "../command.ts";
import { exitStatus } from "../failure.ts";
import { backupOperand, tenantOperand } from "../operands.ts";
import { printable } from "../printable.ts";
import { bytesText, showValue } from "../show.ts";

export const backupExport: Command = {
  name: "backup export",
  summary: "copy the sealed file of a backup into a new file, to be carried away",
  operands: [tenantOperand, backupOperand, { name: "FILE", help: "the copy; must not exist" }],
  options: {},
  notes: `The file opens with the tenant's key alone, which stays on its host: after \`lobster evict\` nobody can open it any more. \`lobster backup import\` gives
it back to its host.`,
  async run(words, context) {
    const request = { name: words.operand("TENANT"), backupId: words.operand("BACKUP") };
    const path = words.operand("FILE");
    const file = openNew(path);
    let isWhole = false;
    try {
      const bytes = await copyInto(file, context, request, backupTimeoutMs(words));
      fsyncSync(file);
      isWhole = true;
      await showValue(context, { file: path, bytes }, () => `${printable(path)}: ${bytesText(bytes)}\n`);
    } finally {
      closeSync(file);
      if (!isWhole) rmSync(path);
    }
    return exitStatus.ok;
  },
};

/** A file that nobody made before, also no link. */
function openNew(path: string): number {
  try {
    return openSync(path, "wx", 0o600);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    throw new UsageError(`${path} exists`);
  }
}

async function copyInto(
  file: number,
  { clients, signal }: Context,
  request: { readonly name: string; readonly backupId: string },
  timeoutMs: number,
): Promise<number> {
  let backup: Backup | undefined;
  let written = 0;
  for await (const { message } of clients.tenants.exportBackup(request, { signal, timeoutMs })) {
    if (message.case === "backup") backup = message.value;
    if (message.case !== "content") continue;
    for (let done = 0; done < message.value.length; )
      done += writeSync(file, message.value, done, message.value.length - done);
    written += message.value.length;
  }
  if (backup === undefined || written !== Number(backup.sizeBytes))
    throw new Error("the export ended before its end: run it again");
  return written;
}
