import { randomUUID } from "node:crypto";
import { SuspendTenantResponseSchema } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { Command } from "../command.ts";
import { exitStatus } from "../failure.ts";
import { requestIdOption, tenantOperand } from "../operands.ts";
import { show } from "../show.ts";
import { tenantText } from "../tenant-text.ts";

export const suspend: Command = {
  name: "suspend",
  summary: "put a tenant to sleep",
  operands: [tenantOperand],
  options: { "request-id": requestIdOption },
  async run(words, context) {
    const requestId = words.text("request-id") ?? randomUUID();
    const request = { requestId, name: words.operand("TENANT") };
    const answer = await context.clients.tenants.suspendTenant(request, { signal: context.signal });
    await show(context, SuspendTenantResponseSchema, answer, () => tenantText(answer.tenant));
    return exitStatus.ok;
  },
};
