import { GetTenantResponseSchema } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { Command } from "../command.ts";
import { exitStatus } from "../failure.ts";
import { tenantOperand } from "../operands.ts";
import { show } from "../show.ts";
import { tenantText } from "../tenant-text.ts";

export const get: Command = {
  name: "get",
  summary: "show one tenant, and how its agent and workload are",
  operands: [tenantOperand],
  options: {},
  async run(words, context) {
    const name = words.operand("TENANT");
    const answer = await context.clients.tenants.getTenant({ name }, { signal: context.signal });
    await show(context, GetTenantResponseSchema, answer, () => tenantText(answer.tenant, answer));
    return exitStatus.ok;
  },
};
