import assert from "node:assert/strict";
import { execFile, spawn as startProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { after, test } from "node:test";
import { promisify } from "node:util";
import { checkout } from "../client/stack-env.ts";
import { env, eventually, evict } from "./subject.ts";

const run = promisify(execFile);
const tenant = "cli";
const main = join(checkout, "deploy/cli/main.ts");
const limitMs = 240_000;

after(() => evict(tenant));

/** Runs `lobster` as a person does who sourced `.run/env`. */
async function lobster(parameters: readonly string[], input = ""): Promise<{ status: number | null; out: string }> {
  const child = startProcess(process.execPath, [main, ...parameters], {
    env: { ...process.env, ...env },
    stdio: ["pipe", "pipe", "inherit"],
    timeout: limitMs,
  });
  child.stdin.end(input);
  const [out] = await Promise.all([text(child.stdout), once(child, "close")]);
  return { status: child.exitCode, out };
}

const hasTmux = () =>
  run("tmux", ["-V"]).then(
    () => true,
    () => false,
  );

async function lobsterJson(...parameters: string[]) {
  const { status, out } = await lobster([...parameters, "--json"]);
  assert.equal(status, 0, parameters.join(" "));
  return JSON.parse(out);
}

test("a tenant is given a secret, spawned and seen by the command", async () => {
  const put = await lobster(["secret", "put", tenant, "api-key"], "lobsterd-test-value\n");
  assert.equal(put.status, 0);
  assert.equal((await lobster(["secret", "bind", tenant, "api-key"])).status, 0);
  const { tenant: spawned } = await lobsterJson("spawn", tenant, "--label", "purpose=story");
  assert.partialDeepStrictEqual(spawned, { name: tenant, state: "TENANT_STATE_RUNNING", labels: { purpose: "story" } });
  assert.equal((await lobster(["ls", "--quiet"])).out, `${tenant}\n`);
  const { health } = await lobsterJson("get", tenant);
  assert.deepEqual(health, { agentAnswers: true, workload: "WORKLOAD_HEALTH_HEALTHY" });
  const { secrets } = await lobsterJson("secret", "ls", tenant);
  assert.equal(secrets[0].deliveries[0].version, 1);
  const { host } = await lobsterJson("host", "get");
  assert.equal(host.tenantCount, 1);
  const { tenants } = await lobsterJson("top");
  assert.equal(typeof tenants[0].usage.receivedBytes, "string");
});

test("top in a terminal redraws in place, and ends with Ctrl-C", async (t) => {
  const socket = `lobster-story-${process.pid}`;
  const tmux = async (...parameters: string[]) =>
    (await run("tmux", ["-L", socket, ...parameters], { env: { ...process.env, ...env }, timeout: 10_000 })).stdout;
  if (!(await hasTmux())) {
    t.skip("tmux is not installed");
    return;
  }
  // Ctrl-C reaches the shell as well, which is to show the status.
  const top = `trap : INT; '${process.execPath}' '${main}' top; echo "status=$?"; exec sleep ${limitMs / 1000}`;
  await tmux("-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "8", top);
  t.after(() => tmux("kill-server"));
  const screen = () => tmux("capture-pane", "-p");
  const shown = (pattern: RegExp) =>
    eventually(String(pattern), 20_000, async () => pattern.exec(await screen())?.[0] || undefined);
  await shown(/^NAME .*\ncli {3}running /m);
  const time = await shown(/^\S+Z(?= {2}1 tenants)/m);
  await eventually("another table", 20_000, async () => {
    const text = await screen();
    assert.equal(text.match(/tenants/g)?.length, 1, "one table at a time");
    return /^\S+Z(?= {2}1 tenants)/m.exec(text)?.[0] !== time || undefined;
  });
  await tmux("send-keys", "C-c");
  await shown(/status=0\b/);
});

test("its egress is changed, and the audit log has it", async () => {
  assert.equal((await lobster(["egress", tenant, "--egress", "none"])).out, "none\n");
  const { records } = await lobsterJson("audit", "query", "--tenant", tenant, "--action", "UpdateTenantEgress");
  assert.equal(records.at(-1).draft.outcome, "RECORD_OUTCOME_SUCCESS");
});

test("a spawn of the same name again is a conflict", async () => {
  assert.equal((await lobster(["spawn", tenant])).status, 6);
});

test("after evict it is not found", async () => {
  assert.equal((await lobster(["evict", tenant])).status, 0);
  assert.equal((await lobster(["get", tenant])).status, 3);
  assert.equal((await lobster(["ls", "--quiet"])).out, "");
});
