import { randomUUID } from "node:crypto";
import { EvictTenantResponseSchema } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { Command } from "../command.ts";
import { exitStatus } from "../failure.ts";
import { requestIdOption, tenantOperand } from "../operands.ts";
import { show } from "../show.ts";

export const evict: Command = {
  name: "evict",
  summary: "destroy a tenant with its disk, its keys and its secrets",
  operands: [tenantOperand],
  options: { "request-id": requestIdOption },
  notes: "It is cut off from the network first. There is no way back.",
  async run(words, context) {
    const name = words.operand("TENANT");
    const requestId = words.text("request-id") ?? randomUUID();
    const answer = await context.clients.tenants.evictTenant({ requestId, name }, { signal: context.signal });
    await show(context, EvictTenantResponseSchema, answer, () => `evicted ${name}\n`);
    return exitStatus.ok;
  },
};
