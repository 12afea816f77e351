import { randomUUID } from "node:crypto";
import { PutSecretResponseSchema } from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import type { Command } from "../command.ts";
import { exitStatus } from "../failure.ts";
import { requestIdOption, secretOwner, secretOwnerOperand } from "../operands.ts";
import { readSecretValue } from "../secret-value.ts";
import { show } from "../show.ts";

export const secretPut: Command = {
  name: "secret put",
  summary: "store a new version of a secret, its value from a file or standard input",
  operands: [secretOwnerOperand, { name: "NAME", help: "name of the secret" }],
  options: {
    from: { value: "FILE", help: "file with the value (default standard input)" },
    "request-id": requestIdOption,
  },
  notes: `A value is never an argument: those can be read by everybody on this machine. It is stored byte for byte, except that one line feed at its
end is left out. Bind it with secret bind: until then no guest gets it.`,
  async run(words, context) {
    const request = {
      requestId: words.text("request-id") ?? randomUUID(),
      tenant: secretOwner(words),
      name: words.operand("NAME"),
      value: { value: await readSecretValue(words.text("from"), context.io.input) },
    };
    const answer = await context.clients.secrets.putSecret(request, { signal: context.signal });
    const { secret } = answer;
    await show(context, PutSecretResponseSchema, answer, () => `stored ${request.name}, version ${secret?.version}\n`);
    return exitStatus.ok;
  },
};
