/** What the agent streams, over its real port, with real processes. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { dirname } from "node:path";
import { before, type TestContext, test } from "node:test";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Client, ServiceImpl } from "@connectrpc/connect";
import { type AgentService, type ExecRequestSchema, LogSource } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import type { Leaf } from "../image/boot-authority.ts";
import { exec } from "./exec.ts";
import { log } from "./log.ts";
import { LogRing } from "./log-ring.ts";
import { streamLogs } from "./stream-logs.ts";
import { gone, serveAgent, writtenBy } from "./streams.fixture.ts";
import { outcomeOf, serviceUri, type TestGuest, testGuest } from "./testing.ts";

let guest: TestGuest;
let vm: Leaf;
before(async () => {
  guest = await testGuest();
  vm = await guest.platform.issue({ uri: serviceUri("vm") });
});

const serve = (t: TestContext, handlers: Partial<ServiceImpl<typeof AgentService>>) =>
  serveAgent(t, guest, vm, handlers);

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

/** Commands run as who runs the tests, whoever that is. */
const account = {
  user: { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 },
  environment: { HOME: "/", PATH: dirname(process.execPath), MARK: "of the image" },
};

type Message = NonNullable<MessageInitShape<typeof ExecRequestSchema>["message"]>;

/** What a command wrote, and its exit code. */
async function runCommand(client: Client<typeof AgentService>, command: string[], ...input: Message[]) {
  const found = { stdout: "", stderr: "", exitCode: Number.NaN };
  const stop = new AbortController();
  const requests = async function* () {
    yield { message: { case: "start" as const, value: { command } } };
    for (const message of input) yield { message };
    // A caller that has nothing more to say and does not go.
    if (input.at(-1)?.case !== "stdinEnd") await once(stop.signal, "abort");
  };
  for await (const { message } of client.exec(requests())) {
    if (message.case === "exitCode") found.exitCode = message.value;
    else if (message.case !== undefined) found[message.case] += Buffer.from(message.value).toString();
  }
  stop.abort();
  return found;
}

const node = (script: string) => ["node", "-e", script];

test("a command has its output, its errors, its exit code and the image's environment", async (t) => {
  const client = await serve(t, { exec: exec(account) });
  assert.deepEqual(await runCommand(client, node("console.log(6*7)")), { stdout: "42\n", stderr: "", exitCode: 0 });
  const both = node(
    "console.log(process.env.MARK); console.error(Object.keys(process.env).length); process.exitCode = 7",
  );
  assert.deepEqual(await runCommand(client, both), { stdout: "of the image\n", stderr: "3\n", exitCode: 7 });
  const killed = await runCommand(client, node("process.kill(process.pid, 'SIGTERM'); setInterval(() => 0, 1000)"));
  assert.equal(killed.exitCode, 128 + 15);
});

test("what cannot be run has the exit code that shells give it, and says why", async (t) => {
  const client = await serve(t, { exec: exec(account) });
  const missing = await runCommand(client, ["no-such-command"]);
  assert.equal(missing.exitCode, 127);
  assert.match(missing.stderr, /ENOENT/);
  for (const command of [["/"], ["node", "a\0b"], [""]]) {
    const { exitCode, stderr } = await runCommand(client, command);
    assert.equal(exitCode, 126, stderr);
  }
});

test("input arrives in order and ends when its caller says so", async (t) => {
  const client = await serve(t, { exec: exec(account) });
  const echo = node("process.stdin.pipe(process.stdout)");
  const chunks = Array.from({ length: 20 }, (_, index) => Buffer.alloc(60_000, String.fromCharCode(97 + index)));
  const input = chunks.map((value) => ({ case: "stdin" as const, value }));
  const { stdout, exitCode } = await runCommand(client, echo, ...input, { case: "stdinEnd", value: true });
  assert.equal(exitCode, 0);
  assert.ok(stdout === Buffer.concat(chunks).toString(), "all of it");
});

test("a command that forks, or is left, leaves nothing behind", async (t) => {
  const client = await serve(t, { exec: exec(account) });
  const forks =
    "const c = require('child_process').spawn('node', ['-e', 'setInterval(() => 0, 1000)'], {stdio: 'inherit'});";
  const { stdout, exitCode } = await runCommand(client, node(`${forks} console.log(c.pid); process.exit(3)`));
  assert.equal(exitCode, 3);
  await gone(Number(stdout));
  const call = new AbortController();
  const requests = async function* () {
    yield {
      message: {
        case: "start" as const,
        value: { command: node("console.log(process.pid); setInterval(() => 0, 1000)") },
      },
    };
    await once(call.signal, "abort");
  };
  const answers = client.exec(requests(), { signal: call.signal })[Symbol.asyncIterator]();
  const pid = Number(Buffer.from((await answers.next()).value?.message.value as Uint8Array).toString());
  call.abort();
  await gone(pid);
});

test("a command without a start and one command too many are refused", async (t) => {
  const client = await serve(t, { exec: exec(account) });
  const refusal = async (message: Message) =>
    await outcomeOf(
      Array.fromAsync(
        client.exec(
          (async function* () {
            yield { message };
          })(),
        ),
      ),
    );
  const command = node("0");
  assert.equal(await refusal({ case: "stdinEnd", value: true }), "INVALID_FIELD");
  assert.equal(await refusal({ case: "start", value: { command: [] } }), "INVALID_FIELD");
  const stop = new AbortController();
  const waiting = Array.from({ length: 4 }, () => {
    const requests = async function* () {
      yield {
        message: { case: "start" as const, value: { command: node("console.log(1); setInterval(() => 0, 1000)") } },
      };
      await once(stop.signal, "abort");
    };
    return client.exec(requests(), { signal: stop.signal })[Symbol.asyncIterator]();
  });
  await Promise.all(waiting.map((answers) => answers.next()));
  assert.equal(await refusal({ case: "start", value: { command } }), "TOO_MANY_STREAMS");
  stop.abort();
});

test("100 MB for a slow reader wait in the command, not in memory", async (t) => {
  const client = await serve(t, { exec: exec(account) });
  const total = 100_000_000;
  const script = `process.stderr.write(String(process.pid)); const c = Buffer.alloc(100_000); let left = ${total / 100_000};
    (function more() { if (left-- > 0) process.stdout.write(c, more); })()`;
  const requests = async function* () {
    yield { message: { case: "start" as const, value: { command: node(script) } } };
  };
  let [pid, read, aheadBytes, exitCode] = [0, 0, 0, -1];
  for await (const { message } of client.exec(requests())) {
    if (message.case === "stderr") pid = Number(Buffer.from(message.value).toString());
    if (message.case === "exitCode") exitCode = message.value;
    if (message.case !== "stdout") continue;
    read += message.value.length;
    // Slow: everything else that wants to run runs before the next chunk is taken.
    for (let turn = 0; turn < 5; turn += 1) await new Promise(setImmediate);
    if (pid > 0) aheadBytes = Math.max(aheadBytes, writtenBy(pid) - read);
  }
  assert.deepEqual([read, exitCode], [total, 0]);
  t.diagnostic(`the command was at most ${aheadBytes} bytes ahead of its reader`);
  assert.ok(aheadBytes > 0 && aheadBytes < 4_000_000, `${aheadBytes} bytes`);
});
