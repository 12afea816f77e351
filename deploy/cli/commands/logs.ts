import { StreamTenantLogsResponseSchema, TenantLogSource } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { Command } from "../command.ts";
import { exitStatus } from "../failure.ts";
import { tenantOperand } from "../operands.ts";
import { printable } from "../printable.ts";
import { momentText, showInStream } from "../show.ts";

const sources: Readonly<Record<string, TenantLogSource>> = {
  agent: TenantLogSource.AGENT,
  workload: TenantLogSource.WORKLOAD,
};
const maxTailLines = 10_000;

export const logs: Command = {
  name: "logs",
  summary: "show what a tenant's workload or agent wrote",
  operands: [tenantOperand],
  options: {
    source: { value: "SOURCE", help: "whose lines (default workload)", choices: Object.keys(sources) },
    follow: { short: "f", help: "go on with new lines" },
    tail: { value: "N", help: "begin with the last N lines (default 100)" },
  },
  notes: "A tenant writes what it likes: control characters are spelled out.",
  async run(words, context) {
    const request = {
      name: words.operand("TENANT"),
      source: sources[words.text("source") ?? "workload"] ?? TenantLogSource.WORKLOAD,
      follow: words.has("follow"),
      tailLines: words.count("tail", maxTailLines) ?? 100,
    };
    for await (const line of context.clients.tenants.streamTenantLogs(request, { signal: context.signal })) {
      await showInStream(
        context,
        StreamTenantLogsResponseSchema,
        line,
        () => `${momentText(line.time)}  ${printable(line.line)}\n`,
      );
    }
    return exitStatus.ok;
  },
};
