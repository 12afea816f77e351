import assert from "node:assert/strict";
import { test } from "node:test";
import { TenantState } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { fakeStack } from "../testing/fake-stack.ts";
import { fakeTenant } from "../testing/fake-tenant.ts";
import { runCommand } from "../testing/run-command.ts";

const withDemo = () => {
  const stack = fakeStack();
  stack.tenants.set("demo", fakeTenant("demo"));
  return stack;
};

test("exec passes input, output and exit status through", async () => {
  const stack = withDemo();
  const { status, stdout, stderr } = await runCommand(["exec", "demo", "--", "sh", "-c", "exit 7"], {
    stack,
    input: "in\x1b[1mput",
  });
  assert.deepEqual([status, stdout, stderr], [7, "in\x1b[1mput", "done\n"]);
  const [start, input, end] = stack.execRequests;
  assert.ok(start?.case === "start");
  assert.deepEqual([start.value.name, start.value.command], ["demo", ["sh", "-c", "exit 7"]]);
  assert.equal(start.value.terminal, undefined);
  assert.deepEqual([input?.case, end?.case], ["stdin", "stdinEnd"]);
});

test("exec sends input in pieces that the server takes", async () => {
  const stack = withDemo();
  const input = "x".repeat(150_000);
  const { stdout } = await runCommand(["exec", "demo", "--", "cat"], { stack, input });
  assert.equal(stdout, input);
  assert.equal(stack.execRequests.filter((message) => message.case === "stdin").length, 3);
});

test("in a terminal exec asks for one of its size; without one the command's control characters are spelled out", async () => {
  const stack = withDemo();
  const live = await runCommand(["exec", "demo", "--", "top"], { stack, isTerminal: true, input: "\x1b[1m" });
  assert.equal(live.stdout, "\x1b[1m");
  const [start] = stack.execRequests;
  assert.ok(start?.case === "start");
  assert.partialDeepStrictEqual(start.value.terminal, { columns: 120, rows: 10 });
  assert.equal(start.value.terminalType, "");
  const piped = await runCommand(["exec", "demo", "--no-tty", "--", "top"], {
    ...{ stack, isTerminal: true, input: "a\x1b[1m\n" },
  });
  assert.equal(piped.stdout, "a\\x1b[1m\n");
});

test("exec -it is a shell with the terminal's type, and says where there is no terminal", async () => {
  const stack = withDemo();
  const environment = { TERM: "xterm-256color" };
  await runCommand(["exec", "-it", "demo"], { stack, isTerminal: true, input: "exit\r", environment });
  const [start] = stack.execRequests;
  assert.ok(start?.case === "start");
  assert.deepEqual([start.value.command, start.value.terminalType], [["sh"], "xterm-256color"]);
  const piped = await runCommand(["exec", "-it", "demo", "--", "sh"], { stack, environment });
  assert.equal(piped.status, 125);
  assert.match(piped.stderr, /^lobster: --tty: standard input is not a terminal \(USAGE\)/);
  const both = await runCommand(["exec", "-t", "--no-tty", "demo"], { stack, isTerminal: true });
  assert.match(both.stderr, /exclude one another/);
  const odd = await runCommand(["exec", "demo"], { ...{ stack, isTerminal: true }, environment: { TERM: "a b\n" } });
  assert.equal(odd.status, 7);
});

test("exec that could not run a command is status 125, whatever was wrong", async () => {
  const stack = withDemo();
  const absent = await runCommand(["exec", "other", "--", "true"], { stack });
  assert.deepEqual([absent.status, absent.stderr], [125, "lobster: there is no tenant other (TENANT_NOT_FOUND)\n"]);
  assert.equal((await runCommand(["exec", "demo"], { stack })).status, 125);
  assert.equal((await runCommand(["exec", "demo", "--json", "--", "true"], { stack })).status, 125);
  const { stderr } = await runCommand(["exec", "other", "--", "ls", "--json"], { stack });
  assert.match(stderr, /^lobster:/, "--json after -- is the command's");
});

test("exec that was interrupted is status 130", async () => {
  const { status } = await runCommand(["exec", "demo", "--", "cat"], {
    stack: withDemo(),
    signal: AbortSignal.abort(),
  });
  assert.equal(status, 130);
});

test("a slow reader slows exec down: what it has not taken is not asked for", async () => {
  const stack = withDemo();
  const gate = Promise.withResolvers<void>();
  const input = "x".repeat(64 * 65_536);
  let written = 0;
  const running = runCommand(["exec", "demo", "--", "cat"], {
    ...{ stack, input },
    onWrite: async () => {
      written += 1;
      await gate.promise;
    },
  });
  // Far more turns than 64 pieces need when nobody holds them up.
  for (let turn = 0; turn < 5000; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(written, 1);
  assert.ok(stack.execRequests.length < 16, `${stack.execRequests.length} pieces were taken`);
  gate.resolve();
  assert.equal((await running).stdout.length, input.length);
});

test("logs are lines with their times, and what a tenant wrote cannot act on the terminal", async () => {
  const stack = withDemo();
  stack.logLines = ["first", "\x1b]0;title\x07\x9b2J\u2028end"];
  const { status, stdout } = await runCommand(["logs", "demo", "--tail", "1"], { stack });
  assert.deepEqual([status, stdout], [0, "2023-11-14T22:13:20.000Z  \\x1b]0;title\\x07\\x9b2J\\u2028end\n"]);
  const json = await runCommand(["logs", "demo", "--json", "-f"], { stack });
  const lines = json.stdout.trimEnd().split("\n");
  assert.deepEqual(
    lines.map((line) => JSON.parse(line).line),
    stack.logLines,
  );
  for (const source of ["kernel", "vmm"])
    assert.equal((await runCommand(["logs", "demo", "--source", source], { stack })).status, 2);
  assert.equal((await runCommand(["logs", "demo", "--tail", "10001"], { stack })).status, 2);
});

test("watch shows changes with their revisions, and goes on after one", async () => {
  const { stdout } = await runCommand(["watch", "--after", "41"]);
  assert.equal(stdout, "      42  running     demo\n      43  removed     demo\n");
  const json = await runCommand(["watch", "--json"]);
  const [first, second] = json.stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  assert.deepEqual([first.revision, first.removed, second.revision, second.removed], ["1", false, "2", true]);
});

test("top without a terminal is one plain table", async () => {
  const stack = withDemo();
  stack.tenants.set("asleep", fakeTenant("asleep", { state: TenantState.SUSPENDED }));
  const { status, stdout } = await runCommand(["top"], { stack });
  assert.equal(status, 0);
  assert.match(stdout, /^NAME {4}STATE /);
  assert.ok(!stdout.includes("\x1b"), "nothing but text");
  assert.match(stdout, /^asleep {2}suspended .* - +-$/m);
  assert.match(stdout, /^demo {4}running +1 +256 MiB +- +- +2\.0 KiB +10 B +3 +5$/m);
});

test("top computes rates between tables, and its JSON is one line for each", async () => {
  const { stdout } = await runCommand(["top", "--rounds", "2", "--json"], { stack: withDemo() });
  const [first, second] = stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  assert.deepEqual(
    [first, second].map(({ tenants }) => tenants[0].receivedBytesPerSecond),
    [null, 2048],
  );
  assert.deepEqual(Object.keys(second), ["time", "tenants"]);
  assert.partialDeepStrictEqual(second.tenants[0], {
    ...{ tenant: { name: "demo" }, usage: { receivedBytes: "4096" }, sentBytesPerSecond: 0 },
  });
});

test("in a terminal top redraws until it is interrupted, within the terminal's lines", async () => {
  const stack = withDemo();
  for (let index = 0; index < 20; index += 1) stack.tenants.set(`t${index}`, fakeTenant(`t${index}`));
  const interruption = new AbortController();
  let sleeps = 0;
  const { status, stdout } = await runCommand(["top"], {
    ...{ stack, isTerminal: true, signal: interruption.signal },
    onSleep: () => {
      sleeps += 1;
      if (sleeps === 2) interruption.abort();
    },
  });
  assert.equal(status, 0);
  const screens = stdout.split("\x1b[H").slice(1);
  assert.equal(screens.length, 2);
  for (const screen of screens) assert.equal(screen.split("\r\n").length - 1, 9, screen);
  assert.match(stdout, /15 more/);
});
