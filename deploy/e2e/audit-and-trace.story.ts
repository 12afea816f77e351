import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { RecordOutcomeSchema, RecordPhaseSchema } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { fetchTrace } from "../client/trace.ts";
import { instanceFiles } from "../dev/configuration.ts";
import { describeInstance } from "../dev/instance.ts";
import { openStack } from "../dev/stack.ts";
import {
  assertUnchangedSince,
  clients,
  env,
  eventually,
  evict,
  giveSecret,
  instance,
  settledInventory,
  spawn,
} from "./subject.ts";

const verifier = join(import.meta.dirname, "../../services/audit/src/verify/main.ts");
const stack = openStack(describeInstance(instance));
let inventory: readonly string[] = [];

before(async () => {
  inventory = await settledInventory();
});

after(async () => {
  await stack.restart("audit");
  for (const name of ["recorded", "unrecorded"]) await evict(name);
});

async function recordsOf(tenant: string) {
  const { records } = await clients.audit.queryRecords({ tenant, page: { pageSize: 500 } });
  return records.map(({ draft, writer }) => ({
    action: draft?.action ?? "",
    phase: RecordPhaseSchema.value[draft?.phase ?? 0]?.localName,
    outcome: RecordOutcomeSchema.value[draft?.outcome ?? 0]?.localName,
    actor: draft?.actor ?? "",
    traceId: draft?.traceId ?? "",
    writer,
  }));
}

test("a spawn is recorded before and after, with the caller that was verified, and so are injection and eviction", async () => {
  await giveSecret("recorded", "api-key");
  await spawn("recorded");
  await evict("recorded");
  const records = await recordsOf("recorded");
  for (const action of ["SpawnTenant", "InjectSecrets", "EvictTenant"]) {
    const phases = records.filter((record) => record.action === action).map(({ phase }) => phase);
    assert.deepEqual(phases, ["INTENT", "OUTCOME"], `${action}: ${JSON.stringify(records)}`);
  }
  const domain = `spiffe://${env.LOBSTERD_DOMAIN}`;
  for (const record of records) {
    if (record.action === "SpawnTenant") {
      assert.equal(record.actor, `${domain}/client/operator`);
      assert.equal(record.writer, `${domain}/svc/vm`);
    }
    if (record.action === "InjectSecrets") assert.equal(record.actor, `${domain}/svc/vm`);
  }
  const order = records.map(({ action, phase }) => `${action} ${phase}`);
  assert.ok(order.indexOf("SpawnTenant INTENT") < order.indexOf("InjectSecrets INTENT"));
  assert.ok(order.indexOf("InjectSecrets OUTCOME") < order.indexOf("SpawnTenant OUTCOME"));
});

test("one trace shows the spawn in every service and in the guest's agent", async () => {
  await spawn("recorded");
  const spawned = (await recordsOf("recorded")).filter(({ action }) => action === "SpawnTenant").at(-1);
  assert.ok(spawned !== undefined && /^[0-9a-f]{32}$/.test(spawned.traceId));
  const services = ["vm", "net", "secrets", "proxy", "audit", "agent"];
  const spans = await fetchTrace(env.LOBSTERD_TRACES, spawned.traceId, { services, waitMs: 10_000 });
  assert.deepEqual(new Set(spans.map(({ service }) => service)), new Set(services));
  const ids = new Set(spans.map(({ spanId }) => spanId));
  const roots = spans.filter(({ parentSpanId }) => parentSpanId === "" || !ids.has(parentSpanId));
  assert.equal(roots.length, 1, `one root: ${JSON.stringify(roots)}`);
  await evict("recorded");
});

test("without audit a spawn is refused and changes nothing, and an eviction goes on and is recorded later", async () => {
  await spawn("recorded");
  const evictions = async () =>
    (await recordsOf("recorded")).filter(({ action }) => action === "EvictTenant").map(({ phase }) => phase);
  const earlier = await evictions();
  await stack.stop("audit");
  const refused = clients.tenants.spawnTenant({ requestId: randomUUID(), name: "unrecorded" });
  await assert.rejects(refused, (error) => reasonOf(error) === "AUDIT_UNAVAILABLE");
  await evict("recorded");
  const { tenants } = await clients.tenants.listTenants({});
  assert.deepEqual(tenants, []);
  await stack.restart("audit");
  // Every service hands on its own spool, in its own time: only vm's two records are waited for.
  const later = await eventually("the spooled records", 30_000, async () => {
    const found = await evictions();
    return found.length >= earlier.length + 2 ? found : undefined;
  });
  assert.deepEqual(later.slice(earlier.length), ["INTENT", "OUTCOME"]);
  await assertUnchangedSince(inventory);
});

test("the log verifies with the public key and with what the witness kept, and nothing else", async () => {
  const { stateDir } = stack.instance;
  const { checkpointVerifierPath, witnessDir } = instanceFiles(stack.instance);
  const given = ["--log", `${stateDir}/audit`, "--key", checkpointVerifierPath, "--checkpoints", witnessDir, "--json"];
  const { records } = await clients.audit.queryRecords({ page: { pageSize: 500 } });
  const verdict = await eventually("a checkpoint of all records at the witness", 30_000, async () => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [verifier, ...given], { encoding: "utf8" });
    assert.equal(status, 0, `${stdout}${stderr}`);
    const found = JSON.parse(stdout);
    return found.newest.size >= records.length ? found : undefined;
  });
  assert.equal(verdict.isVerified, true);
});
