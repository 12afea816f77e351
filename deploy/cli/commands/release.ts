import { randomUUID } from "node:crypto";
import { ReleaseHoldResponseSchema } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { Command } from "../command.ts";
import { exitStatus } from "../failure.ts";
import { tenantOperand } from "../operands.ts";
import { show } from "../show.ts";

export const release: Command = {
  name: "release",
  summary: "end a hold on a tenant before its time",
  operands: [tenantOperand, { name: "HOLD_ID", help: "what lobster hold answered" }],
  options: {},
  async run(words, context) {
    const name = words.operand("TENANT");
    const holdId = words.operand("HOLD_ID");
    const request = { requestId: randomUUID(), name, holdId };
    const answer = await context.clients.tenants.releaseHold(request, { signal: context.signal });
    await show(context, ReleaseHoldResponseSchema, answer, () => `released ${holdId}\n`);
    return exitStatus.ok;
  },
};
