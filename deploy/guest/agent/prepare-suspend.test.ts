import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { createHandlerContext } from "@connectrpc/connect";
import { AgentService, PrepareSuspendRequestSchema } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { type AgentParts, agentHandlers } from "./agent-service.ts";

/** Asks a guest whose workload schedules a run as it agrees to sleep; returns the times that the host is told, in milliseconds. */
async function scheduledTimes(diskOnly: boolean): Promise<readonly number[] | undefined> {
  const nextRuns: { kind: "cron"; timeMs: number }[] = [];
  const parts = {
    sleep: { prepare: async () => void nextRuns.push({ kind: "cron", timeMs: 1500 }) },
    activity: { jobs: { read: () => ({ running: 0, nextRuns }) } },
    workload: { output: {} },
    account: {},
  } as unknown as AgentParts;
  const context = createHandlerContext({
    ...{ service: AgentService, method: AgentService.method.prepareSuspend },
    ...{ protocolName: "grpc", requestMethod: "POST", url: "https://guest/" },
  });
  const request = create(PrepareSuspendRequestSchema, { diskOnly });
  const { schedule } = await agentHandlers(parts).prepareSuspend(request, context);
  return schedule?.nextRuns?.map(({ time }) => (time === undefined ? 0 : timestampMs(time as never)));
}

test("the host is told what is scheduled when the workload has agreed, and nothing for a copy of the disk", async () => {
  assert.deepEqual(await scheduledTimes(false), [1500]);
  assert.equal(await scheduledTimes(true), undefined);
});
