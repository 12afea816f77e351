import { randomUUID } from "node:crypto";
import { RotateRootKeyResponseSchema } from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import type { Command } from "../command.ts";
import { exitStatus } from "../failure.ts";
import { requestIdOption } from "../operands.ts";
import { printable } from "../printable.ts";
import { show } from "../show.ts";

export const secretRotateRoot: Command = {
  name: "secret rotate-root",
  summary: "wrap every tenant's key by a new root key, and retire the old one",
  operands: [],
  options: { "request-id": requestIdOption },
  notes: `Where the root key is a credential of systemd or a variable, the next one has to be there first (services/secrets/README.md). A rotation that was
interrupted goes on at the next start or call.`,
  async run(words, context) {
    const request = { requestId: words.text("request-id") ?? randomUUID() };
    const answer = await context.clients.secrets.rotateRootKey(request, { signal: context.signal });
    await show(context, RotateRootKeyResponseSchema, answer, () => {
      const { rootKeyId, previousRootKeyId, rewrappedCount } = answer;
      return `root key ${printable(rootKeyId)} in place of ${printable(previousRootKeyId)}, tenants' keys wrapped anew: ${rewrappedCount}\n`;
    });
    return exitStatus.ok;
  },
};
