import { randomUUID } from "node:crypto";
import type { Command } from "../command.ts";
import { exitStatus } from "../failure.ts";
import { requestIdOption, tenantOperand } from "../operands.ts";
import { printable } from "../printable.ts";
import { showValue } from "../show.ts";

export const token: Command = {
  name: "token",
  summary: "print the token with which a tenant's people use its gateway",
  operands: [tenantOperand],
  options: { "request-id": requestIdOption },
  notes: "It is a secret. It stays the same until the tenant is evicted.",
  async run(words, context) {
    const tenant = words.operand("TENANT");
    const requestId = words.text("request-id") ?? randomUUID();
    const answer = await context.clients.secrets.issueGatewayToken({ requestId, tenant }, { signal: context.signal });
    const value = Buffer.from(answer.token?.value ?? []).toString("utf8");
    await showValue(context, { tenant, token: value }, () => `${printable(value)}\n`);
    return exitStatus.ok;
  },
};
