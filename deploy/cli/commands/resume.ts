import { randomUUID } from "node:crypto";
import { ResumeTenantResponseSchema } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { Command } from "../command.ts";
import { exitStatus } from "../failure.ts";
import { requestIdOption, tenantOperand } from "../operands.ts";
import { show } from "../show.ts";
import { tenantText } from "../tenant-text.ts";

export const resume: Command = {
  name: "resume",
  summary: "wake a suspended tenant",
  operands: [tenantOperand],
  options: {
    "discard-memory": { help: "boot its disk, and destroy what was saved of its memory" },
    "request-id": requestIdOption,
  },
  async run(words, context) {
    const requestId = words.text("request-id") ?? randomUUID();
    const request = { requestId, name: words.operand("TENANT"), discardMemory: words.has("discard-memory") };
    const answer = await context.clients.tenants.resumeTenant(request, { signal: context.signal });
    await show(context, ResumeTenantResponseSchema, answer, () => tenantText(answer.tenant));
    return exitStatus.ok;
  },
};
