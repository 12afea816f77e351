import { timestampDate, timestampFromDate } from "@bufbuild/protobuf/wkt";
import { flushTraces } from "@lobsterd/chassis/tracing.ts";
import { RecordOutcomeSchema, RecordPhase, RecordPhaseSchema } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import type { StackClients } from "../client/clients.ts";
import type { StackEnv } from "../client/stack-env.ts";
import { fetchTrace } from "../client/trace.ts";
import { renderTraceTree } from "../dev/trace-tree.ts";

/** The services that every spawn goes through. */
export const spawnServices: readonly string[] = ["caller", "vm", "net", "secrets", "proxy", "audit", "agent"];

/** Prints a trace as a tree once every service has reported. Throws if one is missing. */
export async function showTrace(env: StackEnv, traceId: string): Promise<void> {
  await flushTraces();
  const spans = await fetchTrace(env.LOBSTERD_TRACES, traceId, { services: spawnServices, waitMs: 10_000 });
  const missing = spawnServices.filter((service) => !spans.some((span) => span.service === service));
  process.stdout.write(renderTraceTree(spans));
  if (missing.length > 0) throw new Error(`the trace has no span of: ${missing.join(", ")}`);
}

/** Prints what the audit log holds of this tenant since `start`. Throws if that is nothing. */
export async function showAuditRecords({ audit }: StackClients, tenant: string, start: Date): Promise<void> {
  const { records } = await audit.queryRecords({
    tenant,
    startTime: timestampFromDate(start),
    page: { pageSize: 500 },
  });
  for (const { sequence, draft } of records) {
    if (draft === undefined) continue;
    const phase = RecordPhaseSchema.value[draft.phase]?.localName ?? "?";
    const outcome =
      draft.phase === RecordPhase.OUTCOME ? (RecordOutcomeSchema.value[draft.outcome]?.localName ?? "?") : "";
    const time = draft.time === undefined ? "" : timestampDate(draft.time).toISOString();
    const actor = draft.actor.split("/").slice(-2).join("/");
    const columns = [
      `#${sequence}`.padStart(5),
      time,
      draft.action.padEnd(20),
      phase.padEnd(8),
      outcome.padEnd(8),
      actor,
    ];
    process.stdout.write(`${columns.join("  ")} ${draft.reason}\n`);
  }
  if (records.length === 0) throw new Error("the audit log has no record of this spawn");
}
