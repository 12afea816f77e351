import assert from "node:assert/strict";
import { spawn as startProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { after, test } from "node:test";
import { checkout } from "../client/stack-env.ts";
import { env, evict } from "./subject.ts";

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
