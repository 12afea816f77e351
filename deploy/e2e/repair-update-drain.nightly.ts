/** A tenant that is there is given other limits and another size, and its host is drained under it. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { EgressMode } from "@lobsterd/proto/lobsterd/common/v1/network_pb.ts";
import { DrainedTenants } from "@lobsterd/proto/lobsterd/vm/v1/host_pb.ts";
import { TenantState } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { createProcessRunner } from "../../services/net/src/host/process.ts";
import { describeInstance } from "../dev/instance.ts";
import { openStack } from "../dev/stack.ts";
import { killAndReplace } from "./faults/kill.ts";
import {
  ask,
  assertUnchangedSince,
  clients,
  env,
  eventually,
  evict,
  instance,
  settledInventory,
  spawn,
  whoami,
} from "./subject.ts";

const names = ["changed", "beside"];
const [name = ""] = names;
const hostNetwork = createProcessRunner(`/run/netns/${env.LOBSTERD_NETNS}`);
const request = () => ({ requestId: randomUUID(), name });
let inventory: readonly string[] = [];
let slot = 0;

before(async () => {
  inventory = await settledInventory();
  ({ slot } = await spawn(name, "probe"));
  await spawn("beside");
});

after(async () => {
  await clients.host.undrainHost({ requestId: randomUUID() });
  for (const each of names) await evict(each);
});

const current = async () => {
  const { tenant } = await clients.tenants.getTenant({ name });
  assert.ok(tenant);
  return tenant;
};

async function guestMemoryMib(): Promise<number> {
  const body = JSON.stringify({ command: ["/bin/cat", "/proc/meminfo"] });
  const answer = await ask(name, { method: "POST", path: "/run", body });
  const { stdout } = JSON.parse(answer.body) as { stdout: string };
  return Math.round(Number(/^MemTotal: +(\d+) kB/.exec(stdout)?.[1]) / 1024);
}

test("limits change at once, in the kernel", async () => {
  const networkLimits = { sentKbits: 2000, receivedKbits: 3000, receivedPackets: 400 };
  const { tenant, pendingFields } = await clients.tenants.updateTenant({ ...request(), networkLimits });
  assert.deepEqual([tenant?.networkLimits?.sentKbits, pendingFields], [2000, []]);
  assert.match(await hostNetwork.run(["tc", "qdisc", "show", "dev", `lob-${slot}`]), /rate 3Mbit/);
  const received = await hostNetwork.run(["nft", "list", "set", "inet", "lobsterd", "receiving"]);
  assert.match(received, new RegExp(`"lob-${slot}" limit rate 400/second`));
  const { network } = await clients.net.getNetwork({ vmId: tenant?.vmId ?? "" });
  assert.partialDeepStrictEqual(network?.limits, { ...networkLimits, sentPackets: 1000 });
});

test("a policy that net refuses changes nothing else either", async () => {
  const before = await current();
  const egress = { mode: EgressMode.LIST, rules: [{ cidr: "10.0.0.0/8" }] };
  const refusal = await clients.tenants
    .updateTenant({ ...request(), egress, labels: { labels: { a: "b" } }, resources: { memoryMib: 300 } })
    .catch(reasonOf);
  assert.equal(refusal, "EGRESS_RANGE_DENIED");
  assert.deepEqual(await current(), before);
});

test("memory waits for the next boot: a resume brings back the guest as it was, a boot the larger one", async () => {
  const memoryBefore = await guestMemoryMib();
  const resources = { memoryMib: ((await current()).resources?.memoryMib ?? 0) + 64 };
  const { tenant, pendingFields } = await clients.tenants.updateTenant({ ...request(), resources });
  assert.deepEqual([tenant?.nextResources?.memoryMib, pendingFields], [resources.memoryMib, ["resources"]]);
  await clients.tenants.suspendTenant(request());
  await clients.tenants.resumeTenant(request());
  assert.equal(await guestMemoryMib(), memoryBefore);
  const uid = String(describeInstance(instance).firstJailUid + slot);
  const { generation } = await current();
  await createProcessRunner().run(["pkill", "-KILL", "-u", uid]);
  const booted = await eventually("a boot", 60_000, async () => {
    const now = await current();
    return now.state === TenantState.RUNNING && now.generation > generation ? now : undefined;
  });
  assert.deepEqual([booted.resources?.memoryMib, booted.nextResources], [resources.memoryMib, undefined]);
  const grown = (await guestMemoryMib()) - memoryBefore;
  assert.ok(grown > 48 && grown <= 64, `${grown} MiB more`);
});

test("a drained host suspends who runs and refuses who comes, also after kill -9 of vm", async () => {
  const { drain } = await clients.host.drainHost({ requestId: randomUUID(), reason: "a story" });
  assert.equal(drain?.tenants, DrainedTenants.SUSPEND);
  assert.equal(await spawn("refused").catch(reasonOf), "HOST_DRAINING");
  await killAndReplace(openStack(describeInstance(instance)), "vm");
  await eventually("every tenant asleep", 90_000, async () =>
    (await clients.host.getHost({})).host?.drain?.done ? true : undefined,
  );
  assert.partialDeepStrictEqual((await clients.host.checkHost({})).drain, { activeCount: 0, suspendedCount: 2 });
  assert.equal(readdirSync(join(env.LOBSTERD_STATE_DIR, "vm", "sealed")).length, 2);
  assert.equal(await clients.tenants.resumeTenant(request()).catch(reasonOf), "HOST_DRAINING");
  assert.equal(await spawn("refused").catch(reasonOf), "HOST_DRAINING");
});

test("undrained it resumes them when it is asked to", async () => {
  await clients.host.undrainHost({ requestId: randomUUID() });
  assert.equal((await clients.host.getHost({})).host?.drain, undefined);
  assert.equal((await current()).state, TenantState.SUSPENDED);
  await clients.tenants.resumeTenant(request());
  assert.equal((await whoami(name)).tenant, name);
});

test("after all of this the host is as it was", async () => {
  for (const each of names) await evict(each);
  await assertUnchangedSince(inventory);
});
