import { randomUUID } from "node:crypto";
import { DeleteSecretResponseSchema } from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import type { Command } from "../command.ts";
import { exitStatus } from "../failure.ts";
import { requestIdOption, secretOwner, secretOwnerOperand } from "../operands.ts";
import { printable } from "../printable.ts";
import { show } from "../show.ts";

export const secretRm: Command = {
  name: "secret rm",
  summary: "destroy every version of a secret, and take it away from running guests",
  operands: [secretOwnerOperand, { name: "NAME", help: "name of the secret" }],
  options: { "request-id": requestIdOption },
  async run(words, context) {
    const name = words.operand("NAME");
    const request = { requestId: words.text("request-id") ?? randomUUID(), tenant: secretOwner(words), name };
    const answer = await context.clients.secrets.deleteSecret(request, { signal: context.signal });
    await show(context, DeleteSecretResponseSchema, answer, () => `destroyed ${printable(name)}\n`);
    return exitStatus.ok;
  },
};
