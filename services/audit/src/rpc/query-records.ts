import { create } from "@bufbuild/protobuf";
import { decodePageToken, encodePageToken, pageSizeOf } from "@lobsterd/chassis/pages.ts";
import {
  type QueryRecordsRequest,
  type QueryRecordsResponse,
  QueryRecordsResponseSchema,
} from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { fail } from "../errors.ts";
import { millisecondsFrom, recordMessage } from "../record-message.ts";
import type { AuditContext } from "../service.ts";

export function queryRecords({ log }: AuditContext) {
  return async (request: QueryRecordsRequest): Promise<QueryRecordsResponse> => {
    const { tenant, action, actor, traceId } = request;
    const { records, next } = await log.query({
      ...{ tenant, action, actor, traceId },
      ...timeRange(request),
      from: firstSequence(request.page?.pageToken ?? ""),
      limit: pageSizeOf(request.page),
    });
    return create(QueryRecordsResponseSchema, {
      records: records.map(recordMessage),
      page: { nextPageToken: next === undefined ? "" : encodePageToken(String(next)) },
    });
  };
}

function timeRange({ startTime, endTime }: QueryRecordsRequest): { startMs?: number; endMs?: number } {
  const startMs = startTime === undefined ? undefined : millisecondsFrom(startTime, "start_time");
  const endMs = endTime === undefined ? undefined : millisecondsFrom(endTime, "end_time");
  if (startMs !== undefined && endMs !== undefined && startMs > endMs) {
    throw fail("INVALID_TIME_RANGE", "start_time is after end_time", { metadata: { field: "start_time" } });
  }
  return { ...(startMs === undefined ? {} : { startMs }), ...(endMs === undefined ? {} : { endMs }) };
}

function firstSequence(token: string): number {
  const key = decodePageToken(token);
  if (key === "") return 0;
  if (!/^\d{1,15}$/.test(key)) {
    throw fail("INVALID_PAGE_TOKEN", "page_token is not one that this list returned", {
      metadata: { field: "page.page_token" },
    });
  }
  return Number(key);
}
