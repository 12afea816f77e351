import { randomUUID } from "node:crypto";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { BindSecretResponseSchema, type SecretTargetSchema } from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import { type Command, UsageError, type Words } from "../command.ts";
import { exitStatus } from "../failure.ts";
import { labelsOf, requestIdOption, secretOwner, secretOwnerOperand } from "../operands.ts";
import { printable } from "../printable.ts";
import { targetText } from "../secret-text.ts";
import { show } from "../show.ts";

export const secretBind: Command = {
  name: "secret bind",
  summary: "say where in the guest a secret goes; running guests get it too",
  operands: [secretOwnerOperand, { name: "NAME", help: "name of the secret" }],
  options: {
    file: { help: "the file /run/secrets/NAME (the default)" },
    variable: { value: "NAME", help: "an environment variable of the workload" },
    pointer: { value: "POINTER", help: "a field of the workload's configuration, such as /models/key" },
    label: { value: "KEY=VALUE", help: "of a shared secret: the tenants with this label get it" },
    "request-id": requestIdOption,
  },
  async run(words, context) {
    const [label] = Object.entries(labelsOf(words, "label"));
    const request = {
      requestId: words.text("request-id") ?? randomUUID(),
      tenant: secretOwner(words),
      name: words.operand("NAME"),
      target: targetOf(words),
      ...(label === undefined ? {} : { label: { key: label[0], value: label[1] } }),
    };
    if ((request.tenant === "") !== (label !== undefined))
      throw new UsageError("--label goes with @shared, and @shared with --label");
    const answer = await context.clients.secrets.bindSecret(request, { signal: context.signal });
    const where = answer.secret === undefined ? "" : targetText(answer.secret);
    await show(context, BindSecretResponseSchema, answer, () => `bound ${request.name} to ${printable(where)}\n`);
    return exitStatus.ok;
  },
};

function targetOf(words: Words): MessageInitShape<typeof SecretTargetSchema> {
  const variable = words.text("variable");
  const pointer = words.text("pointer");
  if ([words.has("file"), variable !== undefined, pointer !== undefined].filter(Boolean).length > 1)
    throw new UsageError("--file, --variable and --pointer exclude one another");
  if (variable !== undefined) return { target: { case: "environment", value: { variable } } };
  if (pointer !== undefined) return { target: { case: "configuration", value: { pointer } } };
  return { target: { case: "file", value: {} } };
}
