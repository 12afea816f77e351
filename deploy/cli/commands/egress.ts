import { randomUUID } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { type Tenant, UpdateTenantEgressResponseSchema } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { Command, Context, Words } from "../command.ts";
import { exitStatus } from "../failure.ts";
import { egressOf, egressOptions, requestIdOption, tenantOperand } from "../operands.ts";
import { show } from "../show.ts";
import { egressText } from "../tenant-text.ts";

export const egress: Command = {
  name: "egress",
  summary: "show what a tenant may reach, or change it at once",
  operands: [tenantOperand],
  options: { ...egressOptions, "request-id": requestIdOption },
  notes: "Without --egress and --allow the policy in force is shown. Connections that a new policy forbids end.",
  async run(words, context) {
    const tenant = await askOrChange(words, context);
    const answer = create(UpdateTenantEgressResponseSchema, tenant === undefined ? {} : { tenant });
    await show(context, UpdateTenantEgressResponseSchema, answer, () => `${egressText(tenant?.egress)}\n`);
    return exitStatus.ok;
  },
};

async function askOrChange(words: Words, { clients, signal }: Context): Promise<Tenant | undefined> {
  const name = words.operand("TENANT");
  const policy = egressOf(words);
  if (policy === undefined) return (await clients.tenants.getTenant({ name }, { signal })).tenant;
  const requestId = words.text("request-id") ?? randomUUID();
  return (await clients.tenants.updateTenantEgress({ requestId, name, egress: policy }, { signal })).tenant;
}
