/** What a tenant may reach, asked for by gRPC and tried from a real guest; and what an operator reads of it. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { EgressMode, EgressProtocol } from "@lobsterd/proto/lobsterd/common/v1/network_pb.ts";
import { createProcessRunner } from "../../services/net/src/host/process.ts";
import { uplink } from "../dev/outside.ts";
import { type Attacker, adoptAttacker } from "./network/attacker.ts";
import { type Actor, startActor } from "./network/vantage.ts";
import { assertUnchangedSince, clients, env, eventually, evict, settledInventory } from "./subject.ts";

const name = "policy";
const ports = { listed: 8443, other: 8080 } as const;
const resolver = `${uplink.resolverAddress}/32`;
let inventory: readonly string[] = [];
let outside: Actor;
let guest: Attacker;
let vmId = "";
const outsideRunner = createProcessRunner(`/run/netns/${env.LOBSTERD_OUTSIDE_NETNS}`);

before(async () => {
  inventory = await settledInventory();
  await outsideRunner.run(["ip", "address", "replace", resolver, "dev", uplink.outsideLink]);
  outside = await startActor(`/run/netns/${env.LOBSTERD_OUTSIDE_NETNS}`);
  for (const port of [53, ...Object.values(ports)]) await outside.echo({ port });
  const { tenant } = await clients.tenants.spawnTenant({
    ...{ requestId: randomUUID(), name, image: "probe" },
    egress: {
      mode: EgressMode.LIST,
      rules: [{ cidr: "45.0.0.0/24", port: ports.listed, protocol: EgressProtocol.TCP }],
    },
    networkLimits: { sentKbits: 2000 },
  });
  assert.ok(tenant !== undefined);
  vmId = tenant.vmId;
  guest = adoptAttacker(name, tenant.slot);
});
after(async () => {
  await evict(name);
  await outside?.close();
  await outsideRunner.run(["ip", "address", "delete", resolver, "dev", uplink.outsideLink]);
  await assertUnchangedSince(inventory);
});

/** What a real guest gets of each port, by TCP. */
async function reach(...targets: readonly (readonly [string, number])[]): Promise<readonly string[]> {
  const wanted = targets.map(([host, port]) => ({ protocol: "tcp" as const, host, port }));
  return await guest.connect({ targets: wanted, timeoutMs: 2500 });
}

const listed = [uplink.outsideAddress, ports.listed] as const;
const other = [uplink.outsideAddress, ports.other] as const;
const dns = [uplink.resolverAddress, 53] as const;
const otherDns = [uplink.outsideAddress, 53] as const;
const update = (mode: EgressMode) =>
  clients.tenants.updateTenantEgress({ requestId: randomUUID(), name, egress: { mode } });

describe("a tenant's policy", () => {
  test("a list is what it names, and the configured resolver", async () => {
    assert.deepEqual(await reach(listed, other, dns, otherDns), ["echo", "timeout", "echo", "timeout"]);
  });

  test("it is what the tenant and its network show", async () => {
    const { tenant } = await clients.tenants.getTenant({ name });
    assert.deepEqual([tenant?.egress?.mode, tenant?.egress?.rules[0]?.port], [EgressMode.LIST, ports.listed]);
    const { network } = await clients.net.getNetwork({ vmId });
    assert.deepEqual([network?.egress?.mode, network?.limits?.sentKbits], [EgressMode.LIST, 2000]);
    assert.equal(network?.limits?.receivedKbits, 10_000);
    assert.deepEqual(network?.resolverAddresses, [uplink.resolverAddress]);
  });

  test("a change cuts a connection that it forbids, and holds at once", async () => {
    assert.equal(await guest.hold({ host: uplink.outsideAddress, port: ports.listed }), "echo");
    await update(EgressMode.NONE);
    assert.notEqual(await guest.use(), "echo");
    assert.deepEqual(await reach(listed, other, dns), ["timeout", "timeout", "timeout"]);
    await update(EgressMode.INTERNET);
    assert.deepEqual(await reach(listed, other, dns, otherDns), ["echo", "echo", "echo", "timeout"]);
  });

  test("a rule that no policy opens is refused by name, and leaves everything as it was", async () => {
    const egress = { mode: EgressMode.LIST, rules: [{ cidr: "8.8.8.0/24" }, { cidr: "169.254.169.254/32" }] };
    const refused = clients.tenants.updateTenantEgress({ requestId: randomUUID(), name, egress });
    await assert.rejects(refused, (error) => {
      assert.equal(reasonOf(error), "EGRESS_RANGE_DENIED");
      return true;
    });
    const spawn = clients.tenants.spawnTenant({ requestId: randomUUID(), name: "never", egress });
    await assert.rejects(spawn, (error) => reasonOf(error) === "EGRESS_RANGE_DENIED");
    assert.equal((await clients.tenants.getTenant({ name })).tenant?.egress?.mode, EgressMode.INTERNET);
    await assert.rejects(
      clients.tenants.getTenant({ name: "never" }),
      (error) => reasonOf(error) === "TENANT_NOT_FOUND",
    );
  });
});

describe("what an operator reads", () => {
  test("what a tenant sent, and why packets of it were dropped", async () => {
    const before = await clients.net.getNetworkUsage({ vmId });
    await reach(listed, otherDns);
    const after = await clients.net.getNetworkUsage({ vmId });
    assert.ok(after.sentPackets > before.sentPackets && after.receivedBytes > before.receivedBytes);
    assert.ok((after.droppedPackets["other-resolver"] ?? 0n) > 0n, JSON.stringify(Object.keys(after.droppedPackets)));
    assert.ok((after.droppedPackets["egress-policy"] ?? 0n) > 0n);
    assert.ok(after.resolverPackets > 0n);
  });

  test("what is left on the host", async () => {
    const { slotCount, attachedCount, conntrackNetworkLimit, conntrackMax, conntrackEstablishedTimeoutSeconds } =
      await clients.net.getNetworkCapacity({});
    assert.ok(attachedCount >= 1 && attachedCount < slotCount);
    assert.ok(conntrackNetworkLimit > 0 && conntrackMax > 0);
    assert.ok(conntrackEstablishedTimeoutSeconds <= 3600);
  });

  test("that somebody changed the rules: they are back, and audit has it", async () => {
    const host = createProcessRunner(`/run/netns/${env.LOBSTERD_NETNS}`);
    const chain = ["inet", "lobsterd", "LOBSTER-INPUT"];
    await host.run(["nft", "insert", "rule", ...chain, "accept", "comment", "stranger"]);
    await eventually("the repair", 10_000, async () => {
      const listing = await host.run(["nft", "list", "chain", ...chain]);
      return listing.includes("stranger") ? undefined : true;
    });
    const record = await eventually("the audit record", 10_000, async () => {
      const { records } = await clients.audit.queryRecords({ action: "RepairDrift" });
      return records.find(({ draft }) => draft?.resource.includes("LOBSTER-INPUT"));
    });
    assert.match(record.draft?.resource ?? "", /^changed-rules:inet-lobsterd-chain-LOBSTER-INPUT$/);
    assert.match(record.writer, /svc\/net$/);
  });
});
