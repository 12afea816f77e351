import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { chmodSync, readFileSync, rmSync, writeFileSync } from "node:fs";
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
  const child = spawn(process.execPath, ["--disable-sigusr1", main, "--config", configPath], {
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
  for (const name of ["environ", "cmdline"]) {
    assert.equal(readFileSync(`/proc/${child.pid}/${name}`).includes(canary), false);
  }
  child.kill("SIGTERM");
  assert.equal(await exited, 0);
  assert.equal(output().includes(canary), false);
  assert.equal(output().includes("Debugger listening"), false);
});

test("the process does not start with a root key that others can read, and says why", async () => {
  chmodSync(service.rootKeyPath, 0o644);
  const { output, exited } = start();
  assert.equal(await exited, 1);
  assert.match(output(), /root key is refused: .*root\.key has mode 0644, must be 0400 or 0600/);
  chmodSync(service.rootKeyPath, 0o400);
});
