import { create } from "@bufbuild/protobuf";
import { ListBackupsResponseSchema } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { backupColumns } from "../backup-text.ts";
import type { Command } from "../command.ts";
import { exitStatus } from "../failure.ts";
import { tenantOperand } from "../operands.ts";
import { allOf } from "../pages.ts";
import { show } from "../show.ts";
import { renderTable } from "../table.ts";

export const backupLs: Command = {
  name: "backup ls",
  summary: "list a tenant's backups, the newest first",
  operands: [tenantOperand],
  options: { quiet: { short: "q", help: "ids only, one a line" } },
  async run(words, context) {
    const name = words.operand("TENANT");
    const backups = await allOf(
      (page) => context.clients.tenants.listBackups({ name, page }, { signal: context.signal }),
      (answer) => answer.backups,
    );
    const text = () =>
      words.has("quiet")
        ? backups.map(({ backupId }) => `${backupId}\n`).join("")
        : renderTable(backupColumns, backups);
    await show(context, ListBackupsResponseSchema, create(ListBackupsResponseSchema, { backups }), text);
    return exitStatus.ok;
  },
};
