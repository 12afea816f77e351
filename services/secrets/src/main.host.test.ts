import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { chmodSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { newCanary } from "./testing/canary.ts";
import { reasonFrom } from "./testing/guests.ts";
import { type RunningService, runningService } from "./testing/running-service.ts";

const main = fileURLToPath(new URL("./main.ts", import.meta.url));
const exitLimitMs = 60_000;

let service: RunningService;
let configPath: string;
before(async () => {
  service = await runningService();
  // The process takes over files and socket; the service of this process only made them.
  await service.stop();
  configPath = join(service.directory, "config.json");
  writeFileSync(configPath, JSON.stringify(service.config));
});
after(() => rmSync(service.directory, { recursive: true }));

function start(): { child: ChildProcess; output(): string; exited: Promise<number | null> } {
  let text = "";
  const child = spawn(process.execPath, ["--disable-sigusr1", "--report-exclude-env", main, "--config", configPath], {
    env: {},
    timeout: exitLimitMs,
    stdio: ["ignore", "pipe", "pipe"],
  });
  child.stdout.on("data", (data) => (text += data));
  child.stderr.on("data", (data) => (text += data));
  return { child, output: () => text, exited: new Promise((resolve) => child.once("exit", (code) => resolve(code))) };
}

test("the process serves, ignores SIGUSR1, shows no value in /proc and ends cleanly", async () => {
  const { child, output, exited } = start();
  const limits = { timeoutMs: exitLimitMs, intervalMs: 100 };
  await waitFor("the service to serve", async () => (output().includes('"serving"') ? true : undefined), limits);
  const canary = newCanary();
  const request = { requestId: randomUUID(), tenant: "demo", name: "k", value: { value: Buffer.from(canary) } };
  // The client repeats what is UNAVAILABLE, and each time waits for audit.
  const put = service.as("operator").putSecret(request, { timeoutMs: exitLimitMs });
  // No audit service runs here, so what widens is refused: the value came this far and no further.
  assert.equal(await reasonFrom(put), "AUDIT_UNAVAILABLE");
  child.kill("SIGUSR1");
  assert.deepEqual((await service.as("viewer").listSecrets({ tenant: "demo" })).secrets, []);
  assert.deepEqual(
    tcpListeners(child.pid ?? 0),
    [],
    "the service has a Unix socket, and a debugger would be the only other listener",
  );
  for (const name of ["environ", "cmdline"]) {
    assert.equal(readFileSync(`/proc/${child.pid}/${name}`).includes(canary), false);
  }
  child.kill("SIGTERM");
  assert.equal(await exited, 0);
  assert.equal(output().includes(canary), false);
  assert.equal(output().includes("Debugger listening"), false);
});

/** Local addresses of the TCP sockets on which the process listens, as `/proc/net/tcp` writes them. */
function tcpListeners(pid: number): string[] {
  const inodes = new Set<string>();
  for (const target of openFiles(pid)) {
    const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1];
    if (inode !== undefined) inodes.add(inode);
  }
  const listening = "0A";
  return ["tcp", "tcp6"]
    .flatMap((table) => readFileSync(`/proc/${pid}/net/${table}`, "utf8").split("\n"))
    .map((line) => line.trim().split(/\s+/))
    .filter((columns) => columns[3] === listening && inodes.has(columns[9] ?? ""))
    .map((columns) => columns[1] ?? "");
}

test("without the flag SIGUSR1 opens a listener, which is what the test above looks for", async () => {
  const child = spawn(process.execPath, ["-e", "setInterval(() => undefined, 1000)"], {
    stdio: "ignore",
    timeout: exitLimitMs,
  });
  try {
    const limits = { timeoutMs: exitLimitMs, intervalMs: 50 };
    // The handler is there before the first line runs, and the signal would end a process that has none yet.
    await waitFor("the process to run", async () => handlesSignals(child.pid ?? 0), limits);
    child.kill("SIGUSR1");
    await waitFor("a listener", async () => (tcpListeners(child.pid ?? 0).length > 0 ? true : undefined), limits);
  } finally {
    child.kill("SIGKILL");
  }
});

/** What the process's descriptors lead to; one that is closed meanwhile is left out. */
function openFiles(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((name) => {
    try {
      return [readlinkSync(`/proc/${pid}/fd/${name}`, "utf8")];
    } catch {
      return [];
    }
  });
}

/** True once the process waits for events: its loop has an epoll descriptor. */
async function handlesSignals(pid: number): Promise<true | undefined> {
  const state = readFileSync(`/proc/${pid}/status`, "utf8");
  const caught = BigInt(`0x${/^SigCgt:\s*([0-9a-f]+)$/m.exec(state)?.[1] ?? "0"}`);
  const usr1 = 1n << 9n;
  return openFiles(pid).some((target) => target.includes("eventpoll")) && (caught & usr1) !== 0n ? true : undefined;
}

test("the process does not start with a root key that others can read, and says why", async () => {
  chmodSync(service.rootKeyPath, 0o644);
  const { output, exited } = start();
  assert.equal(await exited, 1);
  assert.match(output(), /root key is refused: .*root\.key has mode 0644, must be 0400 or 0600/);
  chmodSync(service.rootKeyPath, 0o400);
});
