import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer, request } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { durationFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { type Client, createClient, createRouterTransport, type ServiceImpl } from "@connectrpc/connect";
import { AgentService, ScheduleKind } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { type ActivityParts, activityHandlers } from "./activity.ts";
import { Holds } from "./holds.ts";
import { JobsFile, parseJobs, summaryOf } from "./jobs-file.ts";
import { countingHandlers, outcomeOf } from "./testing.ts";
import { Traffic } from "./traffic.ts";
import { serveWorkload } from "./workload-socket.ts";

const directory = mkdtempSync(join(tmpdir(), "agent-activity-"));
after(() => rmSync(directory, { recursive: true }));

const clock = () => {
  let nowMs = 1000;
  return {
    now: () => nowMs,
    pass: (ms: number) => {
      nowMs += ms;
    },
  };
};

function agentOver(parts: Partial<ActivityParts>): Client<typeof AgentService> {
  const whole = { traffic: new Traffic(), holds: new Holds(), jobs: new JobsFile(undefined), ...parts };
  const handlers: ServiceImpl<typeof AgentService> = { ...countingHandlers().handlers, ...activityHandlers(whole) };
  return createClient(
    AgentService,
    createRouterTransport(({ service }) => void service(AgentService, handlers)),
  );
}

test("the host is told of traffic, holds and running jobs; a hold ends at its time or before", async () => {
  const { now, pass } = clock();
  const traffic = new Traffic();
  const agent = agentOver({ traffic, holds: new Holds(now), jobs: { read: () => ({ running: 3, nextRuns: [] }) } });
  const holdId = "a".repeat(32);
  traffic.pass(new EventEmitter());
  await agent.acquireHold({ holdId, duration: durationFromMs(1000) });
  await agent.acquireHold({ holdId: "b".repeat(32), duration: durationFromMs(300_000) });
  const { inboundConnections, holds, runningJobs } = await agent.getActivity({});
  assert.deepEqual([inboundConnections, holds, runningJobs], [1, 2, 3]);
  await agent.acquireHold({ holdId, duration: durationFromMs(2000) });
  pass(1999);
  assert.equal((await agent.getActivity({})).holds, 2);
  pass(1);
  assert.equal((await agent.getActivity({})).holds, 1);
  await agent.releaseHold({ holdId: "b".repeat(32) });
  await agent.releaseHold({ holdId: "b".repeat(32) });
  assert.equal((await agent.getActivity({})).holds, 0);
});

test("the host is told when each kind of job is due next", async () => {
  const runs = (["cron", "every", "at", "heartbeat"] as const).map((kind, index) => ({ kind, timeMs: 1500 + index }));
  const agent = agentOver({ jobs: { read: () => ({ running: 0, nextRuns: runs }) } });
  const { CRON, INTERVAL, AT, HEARTBEAT } = ScheduleKind;
  assert.deepEqual(
    (await agent.getActivity({})).nextRuns.map(({ kind, time }) => [kind, time && timestampMs(time)]),
    [CRON, INTERVAL, AT, HEARTBEAT].map((kind, index) => [kind, 1500 + index]),
  );
});

test("a seventeenth hold and one of more than five minutes are refused", async () => {
  const agent = agentOver({});
  const take = (index: number, durationMs: number) =>
    outcomeOf(agent.acquireHold({ holdId: String(index).padStart(32, "0"), duration: durationFromMs(durationMs) }));
  for (let index = 0; index < 16; index++) assert.equal(await take(index, 300_000), "ok");
  assert.notEqual(await take(16, 1000), "ok");
  assert.equal(await take(3, 1000), "ok", "one that there is may be renewed");
  for (const durationMs of [0, 300_001]) assert.notEqual(await take(3, durationMs), "ok");
});

test("the workload takes and ends holds by its agent's socket, which only its user may open", async (t) => {
  const holds = new Holds();
  const path = join(directory, "agent.sock");
  const user = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  const server = serveWorkload(path, user, holds);
  t.after(() => server.close());
  await once(server, "listening");
  assert.equal(statSync(path).mode & 0o777, 0o600);
  const ask = async (method: string, url: string) => {
    const call = request({ socketPath: path, method, path: url }).end();
    const [response] = await once(call, "response");
    let text = "";
    for await (const chunk of response) text += chunk;
    return `${response.statusCode} ${text.trim()}`;
  };
  assert.equal(await ask("PUT", "/holds/call-1?seconds=60"), "200 {}");
  assert.equal(holds.count, 1);
  assert.equal(await ask("PUT", "/holds/call-1?seconds=301"), '400 {"error":"INVALID_FIELD"}');
  assert.equal(await ask("PUT", "/holds/call-1"), '400 {"error":"INVALID_FIELD"}');
  assert.equal(await ask("PUT", "/holds/a%2Fb?seconds=1"), '400 {"error":"INVALID_FIELD"}');
  for (let index = 2; index <= 16; index++) await ask("PUT", `/holds/call-${index}?seconds=60`);
  assert.equal(await ask("PUT", "/holds/one-more?seconds=60"), '429 {"error":"TOO_MANY_HOLDS"}');
  assert.equal(await ask("DELETE", "/holds/call-1"), "200 {}");
  assert.equal(holds.count, 15);
  assert.equal(await ask("GET", "/holds/call-1"), '405 {"error":"METHOD_NOT_ALLOWED"}');
  assert.equal(await ask("PUT", "/"), '404 {"error":"NOT_FOUND"}');
});

test("what the front passes on is traffic for as long as it lasts", async (t) => {
  const traffic = new Traffic();
  const server = createServer((_request, response) => traffic.pass(response)).listen(0, "127.0.0.1");
  t.after(() => server.close());
  await once(server, "listening");
  const socket = connect({ host: "127.0.0.1", port: (server.address() as AddressInfo).port });
  socket.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
  await once(server, "request");
  assert.equal(traffic.open, 1);
  socket.destroy();
  while (traffic.open > 0) await new Promise(setImmediate);
});

const nowMs = Date.UTC(2026, 10, 26);
const hourMs = 3_600_000;
const job = (kind: string, nextRunAtMs: unknown, more: object = {}) => ({
  schedule: { kind },
  state: { nextRunAtMs },
  ...more,
});
const read = (jobs: unknown) => summaryOf(parseJobs(JSON.stringify({ version: 1, jobs })), nowMs);

test("each kind of job has its next run, in the order of time; what is disabled or has none is left out", () => {
  const kinds = ["cron", "every", "at", "heartbeat"];
  const { nextRuns, running } = read([
    ...kinds.map((kind, index) => job(kind, nowMs + (4 - index) * hourMs)),
    job("cron", nowMs + 1, { enabled: false }),
    job("at", undefined),
    { schedule: { kind: "at" }, state: { runningAtMs: nowMs - 5 } },
  ]);
  assert.deepEqual(
    nextRuns.map(({ kind, timeMs }) => [kind, (timeMs - nowMs) / hourMs]),
    kinds.map((kind, index) => [kind, 4 - index]).reverse(),
  );
  assert.equal(running, 1);
});

test("of 10,000 jobs the last missed one and the 99 next are told, whatever is wrong with others", () => {
  const wrong = [
    null,
    7,
    "job",
    [],
    {},
    { schedule: 1, state: 2 },
    job("weekly", nowMs + 1),
    job("at", "soon"),
    job("at", -1),
  ];
  const many = Array.from({ length: 9_991 }, (_, index) => job("every", nowMs + (index - 5000) * 1000 + 1));
  const { nextRuns } = read([...wrong, ...many]);
  assert.deepEqual([nextRuns.length, nextRuns[0]?.timeMs, nextRuns[1]?.timeMs], [100, nowMs - 999, nowMs + 1]);
  assert.deepEqual(read([job("at", 1e300), job("at", Number.MAX_SAFE_INTEGER)]).nextRuns, []);
});

test("a file that is absent, no JSON, too large, a link or a device is no jobs, and is no end of the agent", () => {
  const path = join(directory, "jobs.json");
  const file = new JobsFile(path);
  const none = { running: 0, nextRuns: [] };
  assert.deepEqual(file.read(nowMs), none);
  writeFileSync(path, JSON.stringify({ jobs: [job("at", nowMs + hourMs)] }));
  assert.equal(file.read(nowMs).nextRuns.length, 1);
  for (const text of ["{", "[]", "null", '{"jobs": 1}', " ".repeat(1024 * 1024 + 1)]) {
    writeFileSync(path, text);
    assert.deepEqual(file.read(nowMs), none, text.slice(0, 20));
  }
  writeFileSync(path, JSON.stringify({ jobs: [job("at", nowMs + hourMs)] }));
  const link = join(directory, "link.json");
  symlinkSync(path, link);
  for (const other of [link, directory, "/dev/zero"]) assert.deepEqual(new JobsFile(other).read(nowMs), none, other);
  assert.equal(file.read(nowMs).nextRuns.length, 1);
});
