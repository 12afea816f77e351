/** Commands on a terminal, over the agent's real port, with real terminals of this machine. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, closeSync, constants, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, type TestContext, test } from "node:test";
import type { Client } from "@connectrpc/connect";
import type { AgentService } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import type { Leaf } from "../image/boot-authority.ts";
import { unlockTerminalProgram } from "../image/unlock-terminal.ts";
import { exec } from "./exec.ts";
import { gone, serveAgent, writtenBy } from "./streams.fixture.ts";
import { openTerminalCall } from "./terminal-call.fixture.ts";
import { startOnTerminal } from "./terminal-command.ts";
import { outcomeOf, serviceUri, type TestGuest, testGuest } from "./testing.ts";

const directory = mkdtempSync(join(tmpdir(), "lobsterd-terminal-"));
const unlockPath = join(directory, "unlock-terminal");
let guest: TestGuest;
let vm: Leaf;
before(async () => {
  writeFileSync(unlockPath, unlockTerminalProgram());
  chmodSync(unlockPath, 0o500);
  guest = await testGuest();
  vm = await guest.platform.issue({ uri: serviceUri("vm") });
});
after(() => rmSync(directory, { recursive: true }));

/** Commands run as who runs the tests, whoever that is. */
const account = {
  user: { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 },
  environment: { HOME: "/", PATH: `${dirname(process.execPath)}:/usr/bin:/bin`, MARK: "of the image" },
};

const serve = (t: TestContext): Promise<Client<typeof AgentService>> => {
  const onTerminal: typeof startOnTerminal = (who, command, wish) => startOnTerminal(who, command, wish, unlockPath);
  return serveAgent(t, guest, vm, { exec: exec(account, onTerminal) });
};
const terminal = { columns: 101, rows: 33 };

test("the program that unlocks a terminal does that, and says what it could not", () => {
  const master = openSync("/dev/ptmx", constants.O_RDWR | constants.O_NOCTTY);
  const slave = `/dev/pts/${/^tty-index:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${master}`, "utf8"))?.[1]}`;
  const open = () => closeSync(openSync(slave, constants.O_RDWR | constants.O_NOCTTY));
  assert.throws(open, { code: "EIO" });
  execFileSync(unlockPath, { stdio: [master, "ignore", "ignore"] });
  open();
  closeSync(master);
  // ENOTTY
  assert.throws(() => execFileSync(unlockPath, { stdio: ["pipe", "ignore", "ignore"] }), { status: 25 });
});

test("a terminal is one: its size, its type, its session, and what is typed comes back", async (t) => {
  const call = openTerminalCall(await serve(t), { command: ["sh"], terminal, terminalType: "xterm-256color" });
  await call.shows(/[$#] /);
  await call.type("test -t 0 && test -t 1 && test -t 2 && echo all $((6*7)); stty size; echo $TERM:$MARK\r");
  await call.shows(/all 42\r\n33 101\r\nxterm-256color:of the image\r\n/);
  await call.type("test -r /dev/tty && echo mi''ne </dev/tty; exit 7\r");
  assert.equal(await call.exitCode, 7);
  assert.match(call.text, /echo all .*\r\n/, "what was typed is shown");
  assert.match(call.text, /\nmine\r\n/);
});

test("a resize is told to the command", async (t) => {
  const script =
    "process.stdout.on('resize', () => { console.log(process.stdout.columns + 'x' + process.stdout.rows) });";
  const call = openTerminalCall(await serve(t), {
    command: ["node", "-e", `${script} console.log('ready'); setInterval(() => 0, 1000)`],
    terminal,
  });
  await call.shows(/ready/);
  for (const columns of [60, 70]) {
    await call.resize({ columns, rows: 20 });
    await call.shows(new RegExp(`\\b${columns}x20\\r\\n`));
  }
  call.leave();
});

test("Ctrl-C is a signal, Ctrl-D an end, and exit codes are as without a terminal", async (t) => {
  const client = await serve(t);
  const run = async (command: string[], ...keys: string[]) => {
    const call = openTerminalCall(client, { command, terminal });
    for (const key of keys) await call.type(key);
    return { exitCode: await call.exitCode, text: call.text };
  };
  assert.deepEqual(await run(["sleep", "1000"], "\x03"), { exitCode: 130, text: "^C" });
  assert.deepEqual(await run(["cat"], "line\r", "\x04"), { exitCode: 0, text: "line\r\nline\r\n" });
  assert.equal((await run(["sh", "-c", "kill -TERM $$"])).exitCode, 128 + 15);
  assert.equal((await run(["no-such-command"])).exitCode, 127);
  assert.equal((await run(["/"])).exitCode, 126);
  assert.equal((await run(["node", "a\0b"])).exitCode, 126);
});

test("a call that is left hangs up, and kills what does not heed it", async (t) => {
  const client = await serve(t);
  const heeds = openTerminalCall(client, { command: ["sh", "-c", "echo $$; sleep 1000"], terminal });
  const ignores = openTerminalCall(client, {
    command: ["sh", "-c", "trap '' HUP; sleep 100 & echo $! $$; wait"],
    terminal,
  });
  const [, one] = await heeds.shows(/^(\d+)\r\n/);
  const [, other, shell] = await ignores.shows(/^(\d+) (\d+)\r\n/);
  heeds.leave();
  ignores.leave();
  for (const pid of [one, other, shell]) await gone(Number(pid));
});

test("what a shell left in other groups of its session ends with it", { timeout: 30_000 }, async (t) => {
  const call = openTerminalCall(await serve(t), { command: ["sh"], terminal });
  await call.shows(/[$#] /);
  await call.type("set -m; (trap '' HUP; exec sleep 100) & echo left=$!\r");
  const [, pid] = await call.shows(/left=(\d+)\r\n/);
  await call.type("exit 3\r");
  assert.equal(await call.exitCode, 3);
  await gone(Number(pid));
});

test("a size or a type that is none, and one command too many, are refused", async (t) => {
  const client = await serve(t);
  const refusal = (start: Parameters<typeof openTerminalCall>[1]) =>
    outcomeOf(openTerminalCall(client, start).exitCode);
  const command = ["sleep", "1000"];
  assert.equal(await refusal({ command, terminal: { columns: 0, rows: 1 } }), "INVALID_FIELD");
  assert.equal(await refusal({ command, terminal: { columns: 1, rows: 1001 } }), "INVALID_FIELD");
  assert.equal(await refusal({ command, terminal, terminalType: "a b" }), "INVALID_FIELD");
  assert.equal(await refusal({ command, terminalType: "xterm" }), "INVALID_FIELD");
  const open = ["1", "2", "3", "4"].map((mark) =>
    openTerminalCall(client, { command: ["sh", "-c", `echo ${mark}; exec sleep 1000`], terminal }),
  );
  await Promise.all(open.map((call) => call.shows(/\d/)));
  assert.equal(await refusal({ command: ["sleep", "0"], terminal }), "TOO_MANY_STREAMS");
  for (const call of open) call.leave();
});

test("a paste larger than what its command has read waits, and none of it is lost", async (t) => {
  const client = await serve(t);
  const call = openTerminalCall(client, {
    command: ["sh", "-c", "stty raw -echo; echo ready; sleep 0.2; head -c 2000000 | wc -c; echo over"],
    terminal,
  });
  await call.shows(/ready/);
  for (let sent = 0; sent < 2_000_000; sent += 50_000) void call.type("x".repeat(50_000));
  await call.shows(/2000000\s+over/);
  assert.equal(await call.exitCode, 0);
});

test("100 MB for a slow reader wait in the terminal, not in memory", async (t) => {
  const client = await serve(t);
  const total = 100_000_000;
  const script = `process.stdout.write(process.pid + "\\n"); const c = Buffer.alloc(100_000); let left = ${total / 100_000};
    (function more() { if (left-- > 0) process.stdout.write(c, more); })()`;
  const requests = async function* () {
    yield { message: { case: "start" as const, value: { command: ["node", "-e", script], terminal } } };
    await once(t.signal, "abort");
  };
  let [pid, read, aheadBytes, exitCode] = [0, 0, 0, -1];
  for await (const { message } of client.exec(requests())) {
    if (message.case === "exitCode") {
      exitCode = message.value;
      break;
    }
    if (message.case !== "stdout") continue;
    if (pid === 0) pid = Number(/^(\d+)\r\n/.exec(Buffer.from(message.value).toString())?.[1]);
    read += message.value.length;
    // Slow: everything else that wants to run runs before the next chunk is taken.
    for (let turn = 0; turn < 5; turn += 1) await new Promise(setImmediate);
    aheadBytes = Math.max(aheadBytes, writtenBy(pid) - read);
  }
  assert.deepEqual([read, exitCode], [total + `${pid}\r\n`.length, 0]);
  t.diagnostic(`the command was at most ${aheadBytes} bytes ahead of its reader`);
  assert.ok(aheadBytes > 0 && aheadBytes < 4_000_000, `${aheadBytes} bytes`);
});
