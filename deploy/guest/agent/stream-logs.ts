import { create } from "@bufbuild/protobuf";
import type { HandlerContext } from "@connectrpc/connect";
import {
  LogSource,
  type StreamLogsRequest,
  type StreamLogsResponse,
  StreamLogsResponseSchema,
} from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { invalid } from "./errors.ts";
import { agentLog } from "./log.ts";
import { type LogRing, maximumLines } from "./log-ring.ts";
import { StreamPlaces } from "./stream-places.ts";
import { toTimestamp } from "./timestamp.ts";

/** Every stream takes one of the 16 that a connection may have, and Health has to find one free. */
const concurrentStreams = 4;

/** The handler of StreamLogs; `output` is the workload's. */
export function streamLogs(output: LogRing) {
  const places = new StreamPlaces(concurrentStreams);
  return async function* (
    request: StreamLogsRequest,
    { signal }: Pick<HandlerContext, "signal">,
  ): AsyncGenerator<StreamLogsResponse> {
    const { source, follow, tailLines } = request;
    if (source !== LogSource.AGENT && source !== LogSource.WORKLOAD)
      throw invalid("source", "must be one that there is");
    if (tailLines > maximumLines) throw invalid("tail_lines", `at most ${maximumLines}`);
    const ring = source === LogSource.AGENT ? agentLog : output;
    const leave = places.enter();
    try {
      for await (const { timeMs, line } of ring.read({ tailLines, follow, signal })) {
        yield create(StreamLogsResponseSchema, { time: toTimestamp(timeMs), line });
      }
    } finally {
      leave();
    }
  };
}
