/** What people do with a tenant every day: look at it, read its logs, run a command in it. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  type ExecTenantRequestSchema,
  TenantLogSource,
  TenantState,
  type WatchTenantsResponse,
} from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { clients, evict, spawn } from "./subject.ts";

const name = "operated";
const limitMs = 60_000;
const watched: WatchTenantsResponse[] = [];
const watch = new AbortController();
let snapshot: bigint;
let seen: (() => boolean) | undefined;
let noted: () => void = () => undefined;

/** Collects what WatchTenants says in the background. */
async function follow(startRevision: bigint): Promise<void> {
  try {
    for await (const message of clients.tenants.watchTenants({ startRevision }, { signal: watch.signal })) {
      watched.push(message);
      if (seen?.() === true) noted();
    }
  } catch (error) {
    if (!watch.signal.aborted) throw error;
  }
}

/** Resolves when what was watched so far satisfies `condition`; the test's own limit bounds it. */
function until(condition: () => boolean): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  seen = condition;
  noted = resolve;
  if (condition()) resolve();
  return promise;
}

before(async () => {
  void follow(0n);
  await until(() => watched.at(-1)?.snapshotEnd === true);
  snapshot = watched.at(-1)?.revision ?? 0n;
  await spawn(name);
});
after(async () => {
  await evict(name);
  watch.abort();
});

/** Runs a command with `input` and an end of it. */
async function exec(command: string[], input: readonly Buffer[] = []) {
  const found = { stdout: "", stderr: "", exitCode: Number.NaN };
  const requests = async function* (): AsyncGenerator<MessageInitShape<typeof ExecTenantRequestSchema>> {
    yield { message: { case: "start", value: { name, command } } };
    for (const value of input) yield { message: { case: "stdin", value } };
    yield { message: { case: "stdinEnd", value: true } };
  };
  for await (const { message } of clients.tenants.execTenant(requests())) {
    if (message.case === "exitCode") found.exitCode = message.value;
    else if (message.case !== undefined) found[message.case] += Buffer.from(message.value).toString();
  }
  return found;
}

test("a command runs as the workload's user, with its exit code", { timeout: limitMs }, async () => {
  const answer = await exec(["node", "-e", "console.log(6*7)"]);
  assert.deepEqual([answer.stdout, answer.stderr, answer.exitCode], ["42\n", "", 0]);
  const failing = await exec(["sh", "-c", "echo oops >&2; exit 7"]);
  assert.deepEqual([failing.stdout, failing.stderr, failing.exitCode], ["", "oops\n", 7]);
  assert.equal((await exec(["no-such-command"])).exitCode, 127);
  assert.equal((await exec(["cat"], [Buffer.from("through "), Buffer.from("the pipe")])).stdout, "through the pipe");
  const who = await exec(["node", "-p", "process.getuid()"]);
  assert.notEqual(Number(who.stdout), 0);
});

test("a command on a terminal has the size that was asked for, and Ctrl-C ends it", { timeout: limitMs }, async () => {
  const terminal = { columns: 81, rows: 25 };
  const sized = Promise.withResolvers<void>();
  const requests = async function* (): AsyncGenerator<MessageInitShape<typeof ExecTenantRequestSchema>> {
    yield {
      message: { case: "start", value: { name, command: ["sh", "-c", "stty size; exec sleep 1000"], terminal } },
    };
    await sized.promise;
    yield { message: { case: "stdin", value: Buffer.from("\x03") } };
  };
  let [text, exitCode] = ["", Number.NaN];
  for await (const { message } of clients.tenants.execTenant(requests())) {
    if (message.case === "exitCode") exitCode = message.value;
    else if (message.case === "stdout") text += Buffer.from(message.value).toString();
    if (text.includes("25 81\r\n")) sized.resolve();
  }
  assert.equal(exitCode, 130, text);
});

test("the lines that a guest keeps are shown, and who follows sees the next one", {
  timeout: limitMs,
}, async () => {
  const agent = await Array.fromAsync(clients.tenants.streamTenantLogs({ name, source: TenantLogSource.AGENT }));
  assert.ok(agent.some(({ line }) => line.includes("agent is ready")));
  const call = new AbortController();
  const request = { name, source: TenantLogSource.AGENT, tailLines: 1, follow: true };
  const lines = clients.tenants.streamTenantLogs(request, { signal: call.signal })[Symbol.asyncIterator]();
  await lines.next();
  // The shell knows the workload by its command line; its own has a star where that has a name.
  const end =
    'for p in /proc/[0-9]*; do case "$(cat $p/cmdline)" in *workload/w*.js) kill $(echo $p | cut -d/ -f3);; esac; done';
  await exec(["sh", "-c", end]);
  for (;;) {
    const { value, done } = await lines.next();
    assert.ok(done !== true, "it is followed");
    if (value.line.includes('"message":"workload ended"')) break;
  }
  call.abort();
});

test("a watch sees a tenant come and go, and one that continues misses nothing", { timeout: limitMs }, async () => {
  await until(() => watched.some(({ tenant }) => tenant?.name === name && tenant.state === TenantState.RUNNING));
  await clients.tenants.evictTenant({ requestId: randomUUID(), name });
  const isGone = (message: WatchTenantsResponse | undefined) => message?.tenant?.name === name && message.removed;
  await until(() => watched.some(isGone));
  const again = clients.tenants.watchTenants({ startRevision: snapshot }, { signal: watch.signal });
  const first = await again[Symbol.asyncIterator]().next();
  assert.ok(first.done !== true && isGone(first.value), "what it missed, as it is last");
});
