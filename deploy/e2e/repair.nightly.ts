/** What is taken from a running tenant comes back by itself; what cannot comes back once its cause is gone. */
import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { readdirSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { after, before, type TestContext, test } from "node:test";
import { TenantState, WorkloadHealth } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { createProcessRunner } from "../../services/net/src/host/process.ts";
import { connectStack } from "../client/clients.ts";
import { describeInstance } from "../dev/instance.ts";
import {
  ask,
  assertUnchangedSince,
  clients,
  env,
  eventually,
  evict,
  giveSecret,
  instance,
  settledInventory,
  spawn,
  whoami,
} from "./subject.ts";

const name = "mended";
/** On a machine whose cores others want too; each test says how long it took. */
const repairLimitMs = 120_000;
const kept = `kept-${randomBytes(8).toString("hex")}`;
const hostNetwork = createProcessRunner(`/run/netns/${env.LOBSTERD_NETNS}`);
let inventory: readonly string[] = [];
let digest = "";
let slot = 0;
let vmId = "";

before(async () => {
  inventory = await settledInventory();
  await begin();
});

/** A new tenant has all of its repairs before it. */
async function begin(): Promise<void> {
  digest = (await giveSecret(name, "api-key")).digest;
  ({ slot, vmId } = await spawn(name, "probe"));
  await runAsRoot(`printf ${kept} > /var/kept && sync`);
}

after(() => evict(name));

async function runAsRoot(script: string): Promise<string> {
  const body = JSON.stringify({ command: ["/bin/sh", "-c", script], user: "root" });
  const answer = await ask(name, { method: "POST", path: "/run", body });
  assert.equal(answer.status, 200, answer.body);
  return (JSON.parse(answer.body) as { stdout: string }).stdout;
}

const current = async () => {
  const { tenant, health } = await clients.tenants.getTenant({ name });
  assert.ok(tenant);
  return { tenant, health };
};

/** The one process under the uid of the tenant's slot. */
function vmmPid(): number {
  const uid = describeInstance(instance).firstJailUid + slot;
  const pids = readdirSync("/proc").filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      return readFileSync(`/proc/${pid}/status`, "utf8").includes(`\nUid:\t${uid}\t`);
    } catch {
      return false; // it ended meanwhile
    }
  });
  assert.equal(pids.length, 1);
  return Number(pids[0]);
}

/** Whole to its users: its URL works with its secrets, and its disk is the one it had. */
async function isWhole(): Promise<true | undefined> {
  const { tenant, health } = await current();
  if (tenant.state !== TenantState.RUNNING || health?.workload !== WorkloadHealth.HEALTHY) return undefined;
  const who = await whoami(name);
  assert.deepEqual(who.secrets, { "api-key": digest });
  assert.deepEqual([who.generation, who.vmId], [tenant.generation, vmId]);
  assert.equal(await runAsRoot("cat /var/kept"), kept);
  return true;
}

async function countRecords(action: string): Promise<number> {
  const { records } = await clients.audit.queryRecords({ action, ...(action === "RepairTenant" && { tenant: name }) });
  return records.length;
}

async function repairedInTime(t: TestContext, harm: () => Promise<unknown>, action = "RepairTenant"): Promise<void> {
  const records = await countRecords(action);
  await harm();
  const startMs = performance.now();
  await eventually("the end of what was taken", repairLimitMs, async () =>
    (await isWhole().catch(() => undefined)) === undefined || (await countRecords(action)) > records ? true : undefined,
  );
  await eventually("the repair", repairLimitMs, isWhole);
  t.diagnostic(`repaired in ${Math.round(performance.now() - startMs)} ms`);
  await eventually("its record", 5_000, async () => ((await countRecords(action)) > records ? true : undefined));
}

const isBooted = async (t: TestContext, harm: () => Promise<unknown>) => {
  const { generation } = (await current()).tenant;
  await repairedInTime(t, harm);
  assert.equal((await current()).tenant.generation, generation + 1);
};

test("the VMM is killed: the guest is booted from its disk", (t) =>
  isBooted(t, async () => process.kill(vmmPid(), "SIGKILL")));

test("the VMM hangs, and the agent with it: the guest is booted from its disk", (t) =>
  isBooted(t, async () => process.kill(vmmPid(), "SIGSTOP")));

test("the agent is killed in the guest: the guest is booted from its disk", (t) =>
  isBooted(t, async () => {
    const everyChildOfInit =
      'for p in /proc/[0-9]*; do read -r pid _ _ parent _ < $p/stat && [ "$parent" = 1 ] && kill -9 $pid; done';
    await runAsRoot(everyChildOfInit).catch(() => undefined);
  }));

test("the workload is killed: the agent restarts it, and the guest runs on", async (t) => {
  // The three before were so many repairs in a row that one more would make it FAILED.
  await evict(name);
  await begin();
  const { generation } = (await current()).tenant;
  await repairedInTime(t, async () => {
    const { body } = await ask(name, { method: "POST", path: "/remember", body: "{}" });
    await runAsRoot(`kill -9 ${JSON.parse(body).pid}`).catch(() => undefined);
  });
  assert.equal((await current()).tenant.generation, generation);
});

test("rules of the firewall are deleted: net puts them back", (t) =>
  repairedInTime(t, () => hostNetwork.run(["nft", "flush", "set", "inet", "lobsterd", "reachable"]), "RepairDrift"));

test("the route is withdrawn: it is published again", async (t) => {
  const certificates = join(env.LOBSTERD_STATE_DIR, "certificates", "vm");
  const own = { LOBSTERD_CERT: join(certificates, "certificate.pem"), LOBSTERD_KEY: join(certificates, "key.pem") };
  const asVm = connectStack({ ...env, ...own });
  await repairedInTime(t, () => asVm.routes.withdrawRoute({ requestId: randomUUID(), tenant: name, vmId }));
});

test("RepairTenant says what it found, did and found again; and of a whole tenant that nothing had to be done", async () => {
  process.kill(vmmPid(), "SIGKILL");
  const answer = await clients.tenants.repairTenant({ requestId: randomUUID(), name });
  assert.deepEqual(
    answer.after.map(({ name: check, passed, detail }) => (passed ? check : `${check}: ${detail}`)),
    ["vm.process", "agent.answers", "workload.healthy", "net.attached", "net.rules", "route.published"],
  );
  assert.equal(await isWhole(), true);
  const again = await clients.tenants.repairTenant({ requestId: randomUUID(), name });
  assert.deepEqual([again.repairs, again.tenant?.generation], [[], answer.tenant?.generation]);
});

test("a cause that stays makes the tenant FAILED, and once it is gone the tenant heals by itself", async (t) => {
  const disk = join(env.LOBSTERD_STATE_DIR, "vms", vmId, "overlay.ext4");
  renameSync(disk, `${disk}.away`);
  try {
    process.kill(vmmPid(), "SIGKILL");
    const failed = await eventually("FAILED", 90_000, async () => {
      const { tenant } = await current();
      return tenant.state === TenantState.FAILED ? tenant : undefined;
    });
    assert.equal(failed.failureReason, "VMM_EXITED");
  } finally {
    renameSync(`${disk}.away`, disk);
  }
  const startMs = performance.now();
  await eventually("the tenant healed", 120_000, isWhole);
  t.diagnostic(`healed in ${Math.round(performance.now() - startMs)} ms`);
  assert.equal((await current()).tenant.failureReason, "");
});

test("after all of this the tenant can be evicted, and the host is as it was", async () => {
  await evict(name);
  await assertUnchangedSince(inventory);
});
