import { randomUUID } from "node:crypto";
import { UndrainHostResponseSchema } from "@lobsterd/proto/lobsterd/vm/v1/host_pb.ts";
import type { Command } from "../command.ts";
import { exitStatus } from "../failure.ts";
import { requestIdOption } from "../operands.ts";
import { show } from "../show.ts";

export const hostUndrain: Command = {
  name: "host undrain",
  summary: "put the host into use again; suspended tenants stay so until they are resumed",
  operands: [],
  options: { "request-id": requestIdOption },
  async run(words, context) {
    const requestId = words.text("request-id") ?? randomUUID();
    const answer = await context.clients.host.undrainHost({ requestId }, { signal: context.signal });
    await show(context, UndrainHostResponseSchema, answer, () => "the host admits tenants again\n");
    return exitStatus.ok;
  },
};
