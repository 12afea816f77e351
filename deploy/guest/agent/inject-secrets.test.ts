import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, createHandlerContext } from "@connectrpc/connect";
import {
  AgentService,
  InjectSecretsRequestSchema,
  PrepareSuspendRequestSchema,
} from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { type AgentParts, agentHandlers } from "./agent-service.ts";
import { CurrentIdentity } from "./current-identity.ts";
import { Sleep } from "./sleep.ts";
import { testGuest } from "./testing.ts";

const contextOf = (method: (typeof AgentService.method)["injectSecrets" | "prepareSuspend"]) =>
  createHandlerContext({
    ...{ service: AgentService, method },
    ...{ protocolName: "grpc", requestMethod: "POST", url: "https://guest/" },
  });

/** The handlers of a guest of generation 1 whose workload runs, and what becomes of its secrets and its workload. */
async function subject() {
  const done: string[] = [];
  const current = new CurrentIdentity((await testGuest()).identity);
  const secrets = {
    replace: async () => {
      done.push("put back");
      return "restart-needed";
    },
    forget: async () => void done.push("taken away"),
  };
  const nothing = async () => undefined;
  const sleep = new Sleep({
    ...{ current, secrets, gate: { hold: nothing, release: nothing } },
    ...{ suspendWorkload: nothing, resumeWorkload: nothing, syncFileSystems: nothing },
  });
  const handlers = agentHandlers({
    ...{ current, secrets, sleep },
    workload: { state: "healthy", output: {}, restart: async () => void done.push("restart") },
    tracer: { start: () => undefined },
    account: {},
    activity: { jobs: { read: () => ({ running: 0, nextRuns: [] }) } },
  } as unknown as AgentParts);
  return {
    ...{ done, current },
    inject: async () =>
      await handlers.injectSecrets(create(InjectSecretsRequestSchema), contextOf(AgentService.method.injectSecrets)),
    prepare: async (diskOnly = false) =>
      await handlers.prepareSuspend(
        create(PrepareSuspendRequestSchema, { diskOnly }),
        contextOf(AgentService.method.prepareSuspend),
      ),
  };
}

const refused = (error: unknown) => ConnectError.from(error).code === Code.FailedPrecondition;

test("what a suspend has taken away comes back with the next generation, and not before", async () => {
  const { done, current, inject, prepare } = await subject();
  const prepared = prepare();
  await assert.rejects(inject(), refused, "one that came while the guest was put to sleep");
  await prepared;
  await assert.rejects(inject(), refused);
  assert.deepEqual(done, ["taken away"]);
  current.replace({ ...current.value, generation: 2 });
  await inject();
  assert.deepEqual(done.slice(1), ["put back", "restart"]);
});

test("a guest that stands still for a copy of its disk takes secrets", async () => {
  const { done, inject, prepare } = await subject();
  await prepare(true);
  await inject();
  assert.deepEqual(done, ["put back", "restart"]);
});
