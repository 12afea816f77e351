import { create } from "@bufbuild/protobuf";
import { ListSecretsResponseSchema } from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import type { Command } from "../command.ts";
import { exitStatus } from "../failure.ts";
import { secretOwner, secretOwnerOperand } from "../operands.ts";
import { allOf } from "../pages.ts";
import { secretColumns } from "../secret-text.ts";
import { show } from "../show.ts";
import { renderTable } from "../table.ts";

export const secretLs: Command = {
  name: "secret ls",
  summary: "list a tenant's secrets: names, versions and where they go, never values",
  operands: [secretOwnerOperand],
  options: {},
  notes: "CURRENT counts the running guests that have the newest version, of those that have the secret.",
  async run(words, context) {
    const tenant = secretOwner(words);
    const secrets = await allOf(
      (page) => context.clients.secrets.listSecrets({ tenant, page }, { signal: context.signal }),
      (answer) => answer.secrets,
    );
    const answer = create(ListSecretsResponseSchema, { secrets });
    await show(context, ListSecretsResponseSchema, answer, () => renderTable(secretColumns, secrets));
    return exitStatus.ok;
  },
};
