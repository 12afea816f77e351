import { create } from "@bufbuild/protobuf";
import type { HandlerContext } from "@connectrpc/connect";
import {
  type TailRecordsRequest,
  type TailRecordsResponse,
  TailRecordsResponseSchema,
} from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { recordMessage } from "../record-message.ts";
import type { AuditContext } from "../service.ts";

/** Records read ahead of what the caller took: a slow reader costs this much memory and falls behind; the log waits for nobody. */
const pageRecords = 100;

export function tailRecords({ log }: AuditContext) {
  return async function* (
    { startSequence, tenant }: TailRecordsRequest,
    { signal }: HandlerContext,
  ): AsyncGenerator<TailRecordsResponse> {
    const filters = { tenant, action: "", actor: "", traceId: "" };
    for (let from = Number(startSequence); !signal.aborted; ) {
      await log.grownBeyond(from, signal);
      // What is appended during the query is the next page's.
      const size = log.tree().size;
      const { records, next } = await log.query({ ...filters, from, limit: pageRecords });
      for (const record of records) yield create(TailRecordsResponseSchema, { record: recordMessage(record) });
      from = next ?? Math.max(from, size);
    }
  };
}
