import { randomUUID } from "node:crypto";
import { AcquireHoldResponseSchema } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { Command } from "../command.ts";
import { exitStatus } from "../failure.ts";
import { requestIdOption, tenantOperand } from "../operands.ts";
import { momentText, show } from "../show.ts";

const defaultSeconds = 300;
const maxSeconds = 3600;

export const hold: Command = {
  name: "hold",
  summary: "keep a running tenant from being suspended for idleness",
  operands: [tenantOperand],
  options: {
    for: { value: "SECONDS", help: "how long, from now on (default 300, which is the most)" },
    renew: { value: "HOLD_ID", help: "let this hold last longer in place of taking another" },
    "request-id": requestIdOption,
  },
  notes: "It ends by itself, or with lobster release. A tenant has at most 16. It does not hold up lobster suspend.",
  async run(words, context) {
    const request = {
      requestId: words.text("request-id") ?? randomUUID(),
      name: words.operand("TENANT"),
      duration: { seconds: BigInt(words.count("for", maxSeconds) ?? defaultSeconds) },
      holdId: words.text("renew") ?? "",
    };
    const answer = await context.clients.tenants.acquireHold(request, { signal: context.signal });
    const text = () => `held until ${momentText(answer.expireTime)} by ${answer.holdId}\n`;
    await show(context, AcquireHoldResponseSchema, answer, text);
    return exitStatus.ok;
  },
};
