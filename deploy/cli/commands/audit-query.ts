import { create } from "@bufbuild/protobuf";
import { type Timestamp, timestampFromDate } from "@bufbuild/protobuf/wkt";
import { QueryRecordsResponseSchema } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { type Command, UsageError, type Words } from "../command.ts";
import { exitStatus } from "../failure.ts";
import { pages } from "../pages.ts";
import { recordColumns } from "../record-text.ts";
import { show } from "../show.ts";
import { renderTable } from "../table.ts";

const maxRecords = 100_000;
const defaultRecords = 500;

export const auditQuery: Command = {
  name: "audit query",
  summary: "list audit records in their order",
  operands: [],
  options: {
    tenant: { value: "TENANT", help: "of this tenant" },
    action: { value: "NAME", help: "of this action, such as SpawnTenant" },
    actor: { value: "URI", help: "of this caller" },
    trace: { value: "ID", help: "of this trace" },
    since: { value: "TIME", help: "from this time on, ISO 8601" },
    until: { value: "TIME", help: "before this time, ISO 8601" },
    limit: { value: "N", help: `at most this many, the oldest first (default ${defaultRecords})` },
  },
  async run(words, context) {
    const limit = words.count("limit", maxRecords) ?? defaultRecords;
    const startTime = timeOf(words, "since");
    const endTime = timeOf(words, "until");
    const filter = {
      tenant: words.text("tenant") ?? "",
      action: words.text("action") ?? "",
      actor: words.text("actor") ?? "",
      traceId: words.text("trace") ?? "",
      ...(startTime === undefined ? {} : { startTime }),
      ...(endTime === undefined ? {} : { endTime }),
    };
    const answer = create(QueryRecordsResponseSchema);
    const list = pages((page) => context.clients.audit.queryRecords({ ...filter, page }, { signal: context.signal }));
    for await (const { records } of list) {
      answer.records.push(...records.slice(0, limit - answer.records.length));
      if (answer.records.length >= limit) break;
    }
    await show(context, QueryRecordsResponseSchema, answer, () => renderTable(recordColumns, answer.records));
    return exitStatus.ok;
  },
};

function timeOf(words: Words, option: string): Timestamp | undefined {
  const text = words.text(option);
  if (text === undefined) return undefined;
  const date = new Date(text);
  if (!/^\d{4}-\d\d-\d\d/.test(text) || Number.isNaN(date.getTime()))
    throw new UsageError(`--${option} ${text}: not a time such as 2026-11-26T12:00:00Z`);
  return timestampFromDate(date);
}
