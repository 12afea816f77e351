import { randomUUID } from "node:crypto";
import { RevokeClientCertificateResponseSchema } from "@lobsterd/proto/lobsterd/secrets/v1/client_pb.ts";
import { clientOperand } from "../client-text.ts";
import type { Command } from "../command.ts";
import { exitStatus } from "../failure.ts";
import { requestIdOption } from "../operands.ts";
import { printable } from "../printable.ts";
import { show } from "../show.ts";

export const clientRevoke: Command = {
  name: "client revoke",
  summary: "end the certificates of a viewer or an owner, within seconds",
  operands: [clientOperand],
  options: {
    serial: { value: "NUMBER", help: "only the one with this serial number, as `client ls` shows it" },
    "request-id": requestIdOption,
  },
  notes: `Connections that were opened with them are cut. Without --serial the name is revoked too: whoever had it next would own the tenants that were spawned for
it, so \`lobster client issue\` gives it out again only with --reissue.`,
  async run(words, context) {
    const name = words.operand("NAME");
    const request = {
      requestId: words.text("request-id") ?? randomUUID(),
      name,
      serialNumber: words.text("serial") ?? "",
    };
    const { signal } = context;
    const answer = await context.clients.clientCertificates.revokeClientCertificate(request, { signal });
    const text = () => `revoked of ${printable(name)}: ${printable(answer.serialNumbers.join(", "))}\n`;
    await show(context, RevokeClientCertificateResponseSchema, answer, text);
    return exitStatus.ok;
  },
};
