import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import type { Run, RunResult } from "../guest/probe/run.ts";
import { ask, clients, evict, giveSecret, spawn } from "./subject.ts";

const name = "canary";
/** What must not be found, by what it is. The workload's own secrets are its to read, in its own files and nowhere else. */
const canaries = new Map<string, string>();
let bearer = "";

before(async () => {
  canaries.set("injected secret", (await giveSecret(name, "api-key")).value);
  await spawn(name, "probe");
  const { token } = await clients.secrets.issueGatewayToken({ requestId: randomUUID(), tenant: name });
  bearer = Buffer.from(token?.value ?? []).toString("utf8");
  canaries.set("gateway token", bearer);
  canaries.set("private key", "BEGIN PRIVATE KEY");
});

after(() => evict(name));

/** Runs a command in the guest as the ordinary user that other images' workloads run as. */
async function inGuest(...command: string[]): Promise<RunResult> {
  return await inGuestAs("workload", ...command);
}

async function inGuestAs(user: NonNullable<Run["user"]>, ...command: string[]): Promise<RunResult> {
  const answer = await ask(name, {
    method: "POST",
    path: "/run",
    headers: { "content-type": "application/json", authorization: `Bearer ${bearer}` },
    body: JSON.stringify({ command, timeoutMs: 30_000, user } satisfies Run),
    timeoutMs: 60_000,
  });
  assert.equal(answer.status, 200, answer.body);
  return JSON.parse(answer.body);
}

/** Reads everything that matches `globs` in the guest and prints the paths in which `canary` occurs. */
const searchProgram = `
  const fs = require("fs"), canary = process.argv[1], hits = [];
  let read = 0;
  for (const pattern of process.argv.slice(2)) for (const path of fs.globSync(pattern)) {
    try {
      const file = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK), buffer = Buffer.alloc(1 << 18);
      let tail = "";
      for (let total = 0, count; total < (16 << 20) && (count = fs.readSync(file, buffer, 0, buffer.length, null)) > 0; total += count) {
        const text = tail + buffer.latin1Slice(0, count);
        if (text.includes(canary)) hits.push(path);
        tail = text.slice(-canary.length);
        read += count;
      }
      fs.closeSync(file);
    } catch {}
  }
  console.log(JSON.stringify({ read, hits: [...new Set(hits)] }));
`;

async function search(
  user: NonNullable<Run["user"]>,
  canary: string,
  ...globs: string[]
): Promise<{ read: number; hits: string[] }> {
  const { stdout, stderr } = await inGuestAs(user, "/usr/bin/node", "-e", searchProgram, canary, ...globs);
  assert.notEqual(stdout, "", stderr);
  return JSON.parse(stdout);
}

test("the search itself finds what is there to find", async () => {
  const { hits } = await search("root", canaries.get("injected secret") ?? "", "/run/secrets/*");
  assert.deepEqual(hits, ["/run/secrets/api-key"]);
});

test("not even root finds a credential on the kernel command line or in the environment of any process", async () => {
  for (const [what, canary] of canaries) {
    const { read, hits } = await search(
      "root",
      canary,
      "/proc/cmdline",
      "/proc/*/environ",
      "/proc/*/cmdline",
      "/proc/*/task/*/environ",
    );
    assert.ok(read > 0);
    // The search has what it looks for in its own arguments; no other process has.
    const foreign = [];
    for (const hit of hits) if (!/^\/proc\/(self|thread-self|\d+)\/cmdline$/.test(hit)) foreign.push(hit);
    assert.deepEqual(foreign, [], what);
    assert.ok(!hits.includes("/proc/cmdline"), what);
  }
});

test("an ordinary user cannot read the kernel log, a block device, kernel memory or the agent's files", async () => {
  const refused = [
    "/dev/kmsg",
    "/dev/vda",
    "/dev/vdb",
    "/dev/dm-0",
    "/dev/mapper/control",
    "/dev/vdc",
    "/dev/mem",
    "/proc/kcore",
    "/run/lobsterd-agent/identity.json",
  ];
  for (const path of refused) {
    const { exitCode } = await inGuest(
      "/usr/bin/node",
      "-e",
      `require("fs").readSync(require("fs").openSync(${JSON.stringify(path)}, "r"), Buffer.alloc(1))`,
    );
    assert.notEqual(exitCode, 0, path);
  }
  for (const [what, canary] of canaries) {
    const { hits } = await search(
      "workload",
      canary,
      "/dev/vd*",
      "/dev/dm-*",
      "/dev/hvc*",
      "/dev/tty*",
      "/dev/vport*",
      "/sys/class/block/*/*",
      "/var/**",
      "/etc/**",
      "/tmp/**",
      "/opt/**",
      "/home/**",
    );
    assert.deepEqual(hits, [], what);
  }
});

test("other users' processes are not visible to an ordinary user", async () => {
  const { stdout } = await inGuest(
    "/usr/bin/node",
    "-e",
    `console.log(require("fs").readdirSync("/proc").filter((n) => /^\\d+$/.test(n)).join(" "))`,
  );
  assert.ok(!stdout.split(/\s+/).includes("1"), `pid 1 is visible: ${stdout}`);
});
