/** SVC-05, E1: events are hints. Whoever may publish them says false things of a live tenant, and nothing of it changes. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { toJson } from "@bufbuild/protobuf";
import { NetworkSchema } from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";
import { RouteSchema } from "@lobsterd/proto/lobsterd/proxy/v1/proxy_pb.ts";
import { SecretMetadataSchema } from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import { type Tenant, TenantSchema } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { run } from "../dev/command.ts";
import { certificatePaths } from "../dev/identities.ts";
import { describeInstance, serviceNames } from "../dev/instance.ts";
import { openStack } from "../dev/stack.ts";
import { clients, eventually, evict, giveSecret, instance, spawn, whoami } from "./subject.ts";

const name = "believed";
const described = describeInstance(instance);
const paths = certificatePaths(described);
const script = fileURLToPath(new URL("./broker-forgery.fixture.ts", import.meta.url));
/** What services publish, and what one could be thought to listen for. */
const eventNames = [
  ...["spawned", "spawn-failed", "evicted", "failed", "suspended", "resumed", "repaired", "egress-updated"],
  ...["network-attached", "network-detached", "drift-repaired", "route-published", "route-withdrawn"],
  ...["secret-put", "secret-deleted", "secret-bound", "tenant-shredded", "lease-alarm", "checkpoint-signed"],
];
/** Longer than the loops that compare desired and actual. */
const settleMs = 12_000;
let tenant: Tenant;

before(async () => {
  tenant = await spawn(name);
  await giveSecret(name, "kept");
  await eventually("the secret's delivery", 30_000, async () => {
    const { secrets } = await clients.secrets.listSecrets({ tenant: name });
    return secrets.some(({ deliveries }) => deliveries.length > 0) || undefined;
  });
});
after(() => evict(name));

/** Everything that the platform holds about its tenants, what the guest says, and which processes run. */
async function state(): Promise<unknown> {
  const [{ tenants }, { networks }, { routes }, { secrets }, guest, processes] = await Promise.all([
    clients.tenants.listTenants({}),
    clients.net.listNetworks({}),
    clients.routes.listRoutes({}),
    clients.secrets.listSecrets({ tenant: name }),
    whoami(name),
    openStack(described).status(),
  ]);
  return {
    tenants: tenants.map((one) => toJson(TenantSchema, one)),
    networks: networks.map((one) => toJson(NetworkSchema, one)),
    routes: routes.map((one) => toJson(RouteSchema, one)),
    secrets: secrets.map((one) => toJson(SecretMetadataSchema, one)),
    guest,
    processes: processes.map(({ name: process, pid }) => `${process} ${pid}`),
  };
}

test("forged events of every service change nothing of a live tenant", async (t) => {
  const before = await state();
  const { vmId, slot, generation } = tenant;
  const data = { vmId, slot, generation: generation + 1, reason: "EVICTED", tenant: name, mode: "DENY", object: name };
  const facts = JSON.stringify({ tenants: [name, ""], names: eventNames, data });
  for (const service of serviceNames) {
    const { certificatePath, keyPath } = paths.leaf(service);
    const parameters = [script, service, paths.platformCaPath, certificatePath, keyPath, facts];
    const enter = ["nsenter", `--net=${described.netnsPath}`, "--", process.execPath];
    const { stdout } = await run([...enter, ...parameters], { timeoutMs: 60_000 });
    assert.equal(Number(stdout), eventNames.length * 2 * 5, `${service}'s events were taken`);
  }
  await delay(settleMs);
  assert.deepEqual(await state(), before);
  t.diagnostic(`${serviceNames.length * eventNames.length * 2 * 5} forged events, nothing changed`);
});
