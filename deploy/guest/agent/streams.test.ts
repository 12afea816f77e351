/** What the agent streams, over its real port, with real processes. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { before, type TestContext, test } from "node:test";
import type { ServiceImpl } from "@connectrpc/connect";
import { type AgentService, LogSource } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import type { Leaf } from "../image/boot-authority.ts";
import { CurrentIdentity } from "./current-identity.ts";
import { createGrpcServer, grpcLimits } from "./grpc-server.ts";
import { log } from "./log.ts";
import { LogRing } from "./log-ring.ts";
import { streamLogs } from "./stream-logs.ts";
import { clientOf, countingHandlers, outcomeOf, portOf, serviceUri, type TestGuest, testGuest } from "./testing.ts";

let guest: TestGuest;
let vm: Leaf;
before(async () => {
  guest = await testGuest();
  vm = await guest.platform.issue({ uri: serviceUri("vm") });
});

/** A guest's port with these handlers, and its host's client. */
async function serve(t: TestContext, handlers: Partial<ServiceImpl<typeof AgentService>>) {
  // What is unary has no time here at all: a stream that had its limit would be cut.
  const limits = { ...grpcLimits, callMs: 1 };
  const all = { ...countingHandlers().handlers, ...handlers };
  const grpc = createGrpcServer(new CurrentIdentity(guest.identity), all, limits);
  grpc.server.listen(0, "127.0.0.1");
  await once(grpc.server, "listening");
  const { client, close } = clientOf(guest, portOf(grpc.server), { leaf: vm, token: guest.tokens.vm });
  t.after(async () => {
    close();
    await grpc.drain(1_000);
  });
  return client;
}

test("the logs of workload and agent are apart, and who follows sees the next line", async (t) => {
  const output = new LogRing();
  const client = await serve(t, { streamLogs: streamLogs(output) });
  output.append("first");
  output.append("second");
  log("something of the agent", { fact: 1 });
  const workload = client.streamLogs({ source: LogSource.WORKLOAD, tailLines: 1, follow: true });
  const lines = workload[Symbol.asyncIterator]();
  const next = async () => (await lines.next()).value?.line;
  assert.equal(await next(), "second");
  output.append("third");
  assert.equal(await next(), "third");
  await lines.return?.();
  const agent = await Array.fromAsync(client.streamLogs({ source: LogSource.AGENT }));
  assert.match(agent.at(-1)?.line ?? "", /"message":"something of the agent","fact":1/);
});

test("a log that there is not, and one reader too many, are refused", async (t) => {
  const output = new LogRing();
  output.append("line");
  const client = await serve(t, { streamLogs: streamLogs(output) });
  const read = (source: LogSource) => Array.fromAsync(client.streamLogs({ source }));
  assert.equal(await outcomeOf(read(LogSource.UNSPECIFIED)), "INVALID_FIELD");
  const stop = new AbortController();
  const readers = Array.from({ length: 4 }, () =>
    client.streamLogs({ source: LogSource.WORKLOAD, follow: true }, { signal: stop.signal })[Symbol.asyncIterator](),
  );
  await Promise.all(readers.map((reader) => reader.next()));
  assert.equal(await outcomeOf(read(LogSource.WORKLOAD)), "TOO_MANY_STREAMS");
  stop.abort();
  for (const reader of readers)
    await assert.rejects(async () => {
      while ((await reader.next()).done !== true);
    });
});
