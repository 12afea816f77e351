import { GetCheckpointResponseSchema } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import type { Command } from "../command.ts";
import { exitStatus } from "../failure.ts";
import { printableLines } from "../printable.ts";
import { show } from "../show.ts";

export const auditCheckpoint: Command = {
  name: "audit checkpoint",
  summary: "print the newest signed checkpoint of the audit log",
  operands: [],
  options: {},
  notes: "It comes from the host, so it proves nothing about the host: verify with those that the witness kept.",
  async run(_words, context) {
    const answer = await context.clients.audit.getCheckpoint({}, { signal: context.signal });
    await show(context, GetCheckpointResponseSchema, answer, () => printableLines(answer.signedNote));
    return exitStatus.ok;
  },
};
