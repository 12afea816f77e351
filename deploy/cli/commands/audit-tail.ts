import { TailRecordsResponseSchema } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import type { Command } from "../command.ts";
import { exitStatus } from "../failure.ts";
import { printable } from "../printable.ts";
import { recordColumns } from "../record-text.ts";
import { showInStream } from "../show.ts";

export const auditTail: Command = {
  name: "audit tail",
  summary: "show audit records from a number on, then new ones as they come",
  operands: [],
  options: {
    tenant: { value: "TENANT", help: "of this tenant" },
    from: { value: "SEQ", help: "first sequence number (default 0)" },
  },
  notes: "With --json each record is one line.",
  async run(words, context) {
    const startSequence = BigInt(words.count("from", Number.MAX_SAFE_INTEGER) ?? 0);
    const request = { startSequence, tenant: words.text("tenant") ?? "" };
    for await (const answer of context.clients.audit.tailRecords(request, { signal: context.signal })) {
      const { record } = answer;
      if (record === undefined) continue;
      await showInStream(
        context,
        TailRecordsResponseSchema,
        answer,
        () => `${recordColumns.map(({ cell }) => printable(cell(record)) || "-").join("  ")}\n`,
      );
    }
    return exitStatus.ok;
  },
};
