import { randomUUID } from "node:crypto";
import {
  RepairTenantResponseSchema,
  type TenantCheck,
  type TenantRepair,
} from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { Command } from "../command.ts";
import { exitStatus } from "../failure.ts";
import { requestIdOption, tenantOperand } from "../operands.ts";
import { show } from "../show.ts";
import { type Column, renderTable } from "../table.ts";

interface Row {
  readonly before: TenantCheck;
  readonly after: TenantCheck | undefined;
}

const columns: ReadonlyArray<Column<Row>> = [
  { heading: "CHECK", cell: ({ before }) => before.name },
  { heading: "FOUND", cell: ({ before }) => finding(before) },
  { heading: "NOW", cell: ({ after }) => (after === undefined ? "" : finding(after)) },
];

export const repair: Command = {
  name: "repair",
  summary: "check a tenant, repair what is wrong, and check again",
  operands: [tenantOperand],
  options: { "request-id": requestIdOption },
  notes: `A suspended tenant is resumed first. A guest that does not run or answer is booted again from its disk. The exit status is 1 if a
check still fails.`,
  async run(words, context) {
    const requestId = words.text("request-id") ?? randomUUID();
    const request = { requestId, name: words.operand("TENANT") };
    const answer = await context.clients.tenants.repairTenant(request, { signal: context.signal });
    const rows = answer.before.map((before) => ({
      before,
      after: answer.after.find(({ name }) => name === before.name),
    }));
    await show(
      context,
      RepairTenantResponseSchema,
      answer,
      () => `${renderTable(columns, rows)}\n${answer.repairs.map(doneText).join("") || "nothing had to be done\n"}`,
    );
    return answer.after.every(({ passed }) => passed) ? exitStatus.ok : exitStatus.failed;
  },
};

function finding({ passed, detail }: TenantCheck): string {
  return `${passed ? "ok" : "FAILED"}: ${detail}`;
}

function doneText({ action, succeeded, reason }: TenantRepair): string {
  return succeeded ? `done: ${action}\n` : `failed: ${action} (${reason})\n`;
}
