/** Terminals in a real guest of the image that tenants have, where commands are an ordinary user's. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Client } from "@connectrpc/connect";
import type { AgentService } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { openTerminalCall } from "../agent/terminal-call.fixture.ts";
import { type BareGuest, bootTrustDomain, firstHttpAnswerMs, startBareGuest } from "./bare-boot.ts";
import { agentClient } from "./boot-client.ts";
import { buildImage } from "./image.ts";

const repository = new URL("../../..", import.meta.url).pathname;
const out = `${repository}.cache/images`;
/** Boots share two cores with whatever else runs: this bounds a hang, it measures nothing. */
const bootLimitMs = 180_000;
const limitMs = 60_000;
const terminal = { columns: 101, rows: 33 };

let guest: BareGuest;
let client: Client<typeof AgentService>;
let close: () => void;
before(
  async () => {
    await buildImage("base", { out, repository, force: false, progress: () => undefined });
    guest = await startBareGuest({ image: `${out}/base` });
    const vm = await guest.platform.issue({ uri: `spiffe://${bootTrustDomain}/svc/vm` });
    await firstHttpAnswerMs(guest, bootLimitMs);
    ({ client, close } = agentClient(guest, vm, guest.tokens.vm));
  },
  { timeout: bootLimitMs + 120_000 },
);
after(async () => {
  close?.();
  await guest?.stop();
});

const onTerminal = (...command: string[]) => openTerminalCall(client, { command, terminal });

/** What a command without a terminal wrote, and its exit code. */
async function onPipes(script: string): Promise<{ exitCode: number; text: string }> {
  const call = openTerminalCall(client, { command: ["sh", "-c", script] });
  return { exitCode: await call.exitCode, text: call.text };
}

test("a terminal is one, of the size that was asked for and then of the next", { timeout: limitMs }, async () => {
  const shell = onTerminal("sh");
  await shell.shows(/\$ /);
  await shell.type("test -t 0 && test -t 1 && test -t 2 && echo a' 'terminal; stty size\r");
  await shell.shows(/\na terminal\r\n33 101\r\n/);
  await shell.resize({ columns: 60, rows: 20 });
  await shell.type("stty size; id -u; echo here >/dev/tty; exit 7\r");
  await shell.shows(/\n20 60\r\n1000\r\nhere\r\n/);
  assert.equal(await shell.exitCode, 7);
  const node = onTerminal("node", "-p", "[process.stdin.isTTY, process.stdout.isTTY, process.stdout.columns].join()");
  await node.shows(/true,true,101/);
  assert.equal(await node.exitCode, 0);
});

test("Ctrl-C ends a sleep with 130, and what is not there has 127", { timeout: limitMs }, async () => {
  const sleep = onTerminal("sleep", "1000");
  await sleep.type("\x03");
  assert.equal(await sleep.exitCode, 130);
  assert.equal(await onTerminal("no-such-command").exitCode, 127);
});

test("who hangs up leaves nothing behind", { timeout: limitMs }, async () => {
  const heeds = onTerminal("sh", "-c", "echo $$; sleep 1000; :");
  const ignores = onTerminal("sh", "-c", "trap '' HUP; sleep 1000 & echo $$; wait");
  const pids = [(await heeds.shows(/(\d+)\r\n/))[1], (await ignores.shows(/(\d+)\r\n/))[1]];
  assert.equal((await onPipes(`ls -d ${pids.map((pid) => `/proc/${pid}`).join(" ")}`)).exitCode, 0);
  heeds.leave();
  ignores.leave();
  for (const pid of pids) {
    const { exitCode } = await onPipes(
      `i=0; while [ -d /proc/${pid} ]; do sleep 0.1; i=$((i+1)); [ $i -lt 100 ] || exit 1; done`,
    );
    assert.equal(exitCode, 0, `${pid} still runs`);
  }
  assert.equal((await onPipes("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")).text.match(/sleep 1000/g), null);
});

test("a command can neither list, open nor make a terminal, not even its neighbour's of the same user", {
  timeout: limitMs,
}, async () => {
  const shell = onTerminal("sh");
  await shell.shows(/\$ /);
  await shell.type("readlink /proc/self/fd/0; stat -c %u:%a /dev/pts/0; echo pid=$$\r");
  await shell.shows(/\n\/dev\/pts\/0\r\n0:600\r\n/);
  const [, pid] = await shell.shows(/pid=(\d+)\r\n/);
  const steal = ["ls /dev/pts", "exec 3</dev/pts/0", "echo planted >/dev/pts/0", `echo planted >/proc/${pid}/fd/0`];
  for (const attack of [...steal, "exec 3<>/dev/ptmx", "exec 3<>/dev/pts/ptmx", "ls /opt/agent/unlock-terminal"]) {
    const { exitCode, text } = await onPipes(attack);
    assert.ok(exitCode > 0 && exitCode < 126, `${attack}: ${exitCode}`);
    assert.match(text, /Permission denied/, attack);
  }
  await shell.type("exit\r");
  assert.equal(await shell.exitCode, 0);
  assert.doesNotMatch(shell.text, /planted/);
});

test("all of a large output arrives, and Ctrl-C ends an endless one", {
  timeout: 300_000,
}, async () => {
  const total = 2_000_000;
  const script = `const c = Buffer.alloc(100_000, 'x'); let n = ${total / 100_000};
    (function more() { if (n-- > 0) process.stdout.write(c, more); })()`;
  const call = onTerminal("node", "-e", script);
  assert.equal(await call.exitCode, 0);
  assert.equal(call.text.length, total);
  const endless = onTerminal("sh", "-c", "while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done");
  await endless.shows(/y/);
  await endless.type("\x03");
  assert.equal(await endless.exitCode, 130);
});
