import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, createHandlerContext } from "@connectrpc/connect";
import { AgentService, RestartWorkloadRequestSchema } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { type AgentParts, agentHandlers } from "./agent-service.ts";
import type { WorkloadState } from "./workload.ts";

/** The handler over a workload and a guest that are in these states; resolves with what became of the workload. */
async function restart(state: WorkloadState, isAsleep: boolean): Promise<readonly string[]> {
  const done: string[] = [];
  const parts = {
    workload: { state, output: {}, restart: async () => void done.push("restart") },
    sleep: { isAsleep },
    account: {},
    activity: {},
  } as unknown as AgentParts;
  const context = createHandlerContext({
    ...{ service: AgentService, method: AgentService.method.restartWorkload },
    ...{ protocolName: "grpc", requestMethod: "POST", url: "https://guest/" },
  });
  await agentHandlers(parts).restartWorkload(create(RestartWorkloadRequestSchema), context);
  return done;
}

const notStarted = (error: unknown) => ConnectError.from(error).code === Code.FailedPrecondition;

for (const state of ["starting", "healthy", "unhealthy", "failed"] as const) {
  test(`a workload that is ${state} is restarted`, async () => {
    assert.deepEqual(await restart(state, false), ["restart"]);
  });
}

test("a workload that would have no secrets is not started: it waits for them, or they were taken away for a suspend", async () => {
  await assert.rejects(restart("waiting-for-secrets", false), notStarted);
  await assert.rejects(restart("healthy", true), notStarted);
});
