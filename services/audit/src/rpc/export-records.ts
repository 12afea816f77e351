import { create } from "@bufbuild/protobuf";
import type { HandlerContext } from "@connectrpc/connect";
import {
  type ExportRecordsRequest,
  type ExportRecordsResponse,
  ExportRecordsResponseSchema,
} from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { fail } from "../errors.ts";
import type { AuditContext } from "../service.ts";

const chunkBytes = 256 * 1024;

export function exportRecords({ log, checkpointer }: AuditContext) {
  return async function* (
    request: ExportRecordsRequest,
    { signal }: HandlerContext,
  ): AsyncGenerator<ExportRecordsResponse> {
    const tree = log.tree();
    const signedNote = checkpointer.signIfGrown();
    const end = log.endOffset(tree.size);
    const start = Number(request.startOffset);
    if (start > end) {
      throw fail("NOT_IN_TREE", `the log has ${end} bytes`, { metadata: { field: "start_offset" } });
    }
    for (let offset = start; offset < end && !signal.aborted; ) {
      const bytes = await log.readBytes(offset, Math.min(chunkBytes, end - offset));
      yield create(ExportRecordsResponseSchema, { part: { case: "log", value: bytes } });
      offset += bytes.length;
    }
    yield create(ExportRecordsResponseSchema, { part: { case: "signedNote", value: signedNote } });
  };
}
