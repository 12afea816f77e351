import assert from "node:assert/strict";
import { BlockList } from "node:net";
import { dirname } from "node:path";
import { test } from "node:test";
import { configSchema as auditSchema } from "@lobsterd/audit/config.ts";
import { parseConfig } from "@lobsterd/chassis/config.ts";
import { netConfigSchema } from "@lobsterd/net/config.ts";
import { deniedRanges } from "@lobsterd/net/firewall/ranges.ts";
import { configSchema as proxySchema } from "@lobsterd/proxy/config.ts";
import { configSchema as secretsSchema } from "@lobsterd/secrets/config.ts";
import { configSchema as vmSchema } from "@lobsterd/vm/config.ts";
import { launcherConfigSchema } from "@lobsterd/vm/launcher/config.ts";
import { configurations, hostIdOf, instanceFiles } from "./configuration.ts";
import { describeInstance, instanceNames } from "./instance.ts";
import { uplink } from "./outside.ts";
import { readAccounts } from "./users.ts";

const accounts = readAccounts("root:x:0:0::/:/\nlobsterd-vm:x:991:881::/:/\n", "");
const schemas = {
  vm: vmSchema,
  "vm-launcher": launcherConfigSchema,
  net: netConfigSchema,
  proxy: proxySchema,
  secrets: secretsSchema,
  audit: auditSchema,
} as const;

for (const name of instanceNames) {
  test(`every process of ${name} accepts its configuration`, () => {
    const written = configurations(describeInstance(name, "/checkout"), accounts);
    for (const [process, schema] of Object.entries(schemas)) {
      const text = JSON.stringify(written[process as keyof typeof schemas]);
      assert.doesNotThrow(() => parseConfig(schema, text), process);
    }
  });
}

test("Caddy starts with its admin socket and no TCP admin endpoint", () => {
  const { caddy } = configurations(describeInstance("dev", "/checkout"), accounts);
  assert.deepEqual(caddy, {
    admin: { listen: "unix//run/lobsterd/dev/caddy-admin/admin.sock", config: { persist: false } },
  });
});

test("vm, net and the launcher agree on slots and jail uids", () => {
  const { vm, net, "vm-launcher": launcher } = configurations(describeInstance("test", "/checkout"), accounts);
  assert.equal(vm?.["slotCount"], net?.["slotCount"]);
  assert.equal(vm?.["slotCount"], launcher?.["slotCount"]);
  assert.equal(net?.["jailUidBase"], launcher?.["uidBase"]);
  assert.equal(launcher?.["socketGroupId"], 881);
});

test("a stack of the runner is one for development, and says where its root key is", () => {
  const instance = describeInstance("test", "/checkout");
  const { vm, secrets } = configurations(instance, accounts);
  assert.equal(vm?.["mode"], "development");
  assert.deepEqual(vm["rootKey"], {
    keyDir: dirname(instanceFiles(instance).rootKeyPath),
    storeDir: secrets?.["stateDir"],
  });
});

test("only dev looks for the best VMM of the machine: what is tested and measured is the same everywhere", () => {
  const settings = instanceNames.map((name) => {
    const written = configurations(describeInstance(name, "/checkout"), accounts);
    return [name, written["vm-launcher"]?.["vmm"]];
  });
  assert.deepEqual(Object.fromEntries(settings), {
    dev: { kind: "auto", accelerator: "auto" },
    test: { kind: "qemu", accelerator: "tcg" },
    bench: { kind: "qemu", accelerator: "tcg" },
  });
});

test("what stands for the internet is where guests may go, and cannot be where the slots are", () => {
  const { net } = configurations(describeInstance("test", "/checkout"), accounts);
  assert.equal(net?.["uplinkInterface"], uplink.link);
  const closed = new BlockList();
  for (const range of deniedRanges) {
    const [address = "", prefix = "32"] = range.split("/");
    closed.addSubnet(address, Number(prefix));
  }
  for (const address of [uplink.address, uplink.outsideAddress, uplink.resolverAddress]) {
    assert.equal(closed.check(address), false, address);
  }
  assert.deepEqual(net?.["resolverAddresses"], [uplink.resolverAddress]);
});

test("root key and shards are outside the store that a backup would take", () => {
  const { secrets } = configurations(describeInstance("dev", "/checkout"), accounts);
  const { path, shardsDir } = Object(secrets?.["rootKey"]) as Record<string, string>;
  for (const place of [path, shardsDir])
    assert.ok(place?.startsWith("/") && !place.startsWith(`${String(secrets?.["stateDir"])}/`));
});

test("instances share no path, port or uid", () => {
  const instances = instanceNames.map((name) => describeInstance(name, "/checkout"));
  const unique = (values: readonly (string | number)[]) =>
    assert.equal(new Set(values).size, values.length, String(values));
  unique(instances.flatMap(({ ports }) => Object.values(ports)));
  unique(instances.flatMap((one) => [one.runDir, one.stateDir, one.netns, one.outsideNetns, one.environmentPath]));
  unique(instances.flatMap(({ firstJailUid, slotCount }) => [firstJailUid, firstJailUid + slotCount - 1]));
});

test("a host id is made of what services accept", () => {
  assert.equal(hostIdOf("My_Host.example", "dev"), "my-host.example-dev");
  assert.equal(hostIdOf("---", "dev"), "host-dev");
});
