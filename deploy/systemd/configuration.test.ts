import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { configSchema as auditSchema } from "@lobsterd/audit/config.ts";
import { parseConfig } from "@lobsterd/chassis/config.ts";
import { netConfigSchema } from "@lobsterd/net/config.ts";
import { configSchema as proxySchema } from "@lobsterd/proxy/config.ts";
import { checkedConfigSchema as secretsSchema } from "@lobsterd/secrets/config.ts";
import { configSchema as vmSchema } from "@lobsterd/vm/config.ts";
import { launcherConfigSchema } from "@lobsterd/vm/launcher/config.ts";
import { checkoutDir } from "../dev/instance.ts";
import { readAccounts } from "../dev/users.ts";
import { type HostSettings, hostConfigurations, hostSettingsSchema } from "./configuration.ts";
import { afterInstall, afterUninstall, beforeUninstall, guestsRun } from "./host-commands.ts";
import { hostFiles } from "./host-files.ts";
import { describeHost, guestsUnit } from "./host-instance.ts";

const users = ["vm", "net", "proxy", "secrets", "audit", "caddy", "nats"].map(
  (name, index) => `lobsterd-${name}:x:${990 - index}:${880 - index}`,
);
const accounts = readAccounts(["root:x:0:0", ...users].join("\n"), "lobsterd:x:700:");
const settings: HostSettings = {
  domain: "tenants.example.org",
  uplinkInterface: "eth0",
  resolverAddresses: ["9.9.9.9"],
  slotCount: 100,
};
const schemas = {
  vm: vmSchema,
  net: netConfigSchema,
  proxy: proxySchema,
  audit: auditSchema,
  "vm-launcher": launcherConfigSchema,
};

function textOf(name: string, of: HostSettings = settings): string {
  const found = hostConfigurations(of, accounts).find((one) => one.name === `${name}.json`);
  assert.ok(found, name);
  return found.text;
}

test("every process accepts its configuration", () => {
  for (const [name, schema] of Object.entries(schemas))
    assert.doesNotThrow(() => parseConfig(schema, textOf(name)), name);
  assert.ok(secretsSchema.safeParse(JSON.parse(textOf("secrets"))).success);
});

test("a host is in production: its posture counts, its VMM is Firecracker, its root key is no file", () => {
  const vm = parseConfig(vmSchema, textOf("vm"));
  assert.deepEqual([vm.mode, vm.defaultIdleMode], ["production", "after"]);
  assert.equal(vm.rootKey, undefined);
  assert.equal(parseConfig(launcherConfigSchema, textOf("vm-launcher")).vmm.kind, "firecracker");
  const secrets = secretsSchema.parse(JSON.parse(textOf("secrets")));
  assert.equal(secrets.mode, "production");
  assert.equal(secrets.rootKey.kind, "systemd-credential");
});

test("the launcher puts guests where systemd delegated, and nobody but vm calls it", () => {
  const launcher = parseConfig(launcherConfigSchema, textOf("vm-launcher"));
  assert.equal(launcher.cgroupParent, "lobsterd.slice/lobsterd-guests.slice/lobsterd-guests.service");
  assert.equal(launcher.socketGroupId, accounts.account("lobsterd-vm").gid);
});

test("a cgroup cannot lead elsewhere", () => {
  for (const cgroupParent of ["../x", "a/../b", "/a", "a//b", "a/", "a.slice/..", "a..b"]) {
    const text = JSON.stringify({ ...JSON.parse(textOf("vm-launcher")), cgroupParent });
    assert.throws(() => parseConfig(launcherConfigSchema, text), /cgroupParent/, cgroupParent);
  }
});

test("front certificates come from files until an ACME authority is named", () => {
  const kindOf = (of: HostSettings) => parseConfig(proxySchema, textOf("proxy", of)).caddy.certificates.kind;
  assert.equal(kindOf(settings), "files");
  assert.equal(
    kindOf({ ...settings, acmeDirectory: "https://acme.example.org/directory", acmeEmail: "ops@example.org" }),
    "acme",
  );
});

test("each configuration is its process's alone", () => {
  for (const { name, user, mode } of hostConfigurations(settings, accounts)) {
    if (name === "roles.json") assert.deepEqual([user, mode], ["root", 0o644]);
    else {
      const process = name.replace(".json", "");
      assert.deepEqual([user, mode], [process === "vm-launcher" ? "root" : `lobsterd-${process}`, 0o400]);
    }
  }
});

test("settings that no service would take are refused", () => {
  assert.ok(hostSettingsSchema.safeParse(settings).success);
  for (const wrong of [
    { domain: "Example.org" },
    { uplinkInterface: "a b" },
    { resolverAddresses: [] },
    { slotCount: 101 },
  ]) {
    assert.equal(hostSettingsSchema.safeParse({ ...settings, ...wrong }).success, false, JSON.stringify(wrong));
  }
});

test("the settings of the machine are installed with the units", () => {
  const files = [...hostFiles(describeHost(settings.domain, settings.slotCount), checkoutDir).keys()];
  for (const path of [
    "sysctl.d/90-lobsterd.conf",
    "modprobe.d/lobsterd.conf",
    "modules-load.d/lobsterd.conf",
    "tmpfiles.d/lobsterd.conf",
  ]) {
    assert.ok(files.includes(`/etc/${path}`), path);
  }
  assert.equal(new Set(files).size, files.length);
});

test("an upgrade restarts what runs and touches no guest; only a removal ends their unit", () => {
  const ends = /\b(stop|restart|try-restart|kill|disable|isolate)\b/;
  for (const isUpgrade of [false, true]) {
    const commands = afterInstall(isUpgrade).map((command) => command.join(" "));
    assert.equal(
      commands.some((command) => ends.test(command)),
      isUpgrade,
    );
    assert.ok(commands.every((command) => !command.includes("guests") && !command.includes("lobsterd.target")));
  }
  assert.ok(beforeUninstall(accounts, true).every((command) => !command.includes(guestsUnit)));
  assert.deepEqual(afterUninstall().at(-1), ["systemctl", "stop", "lobsterd-guests.slice"]);
});

test("net takes its rules back with its own user and capabilities, if it was ever configured", () => {
  const teardown = beforeUninstall(accounts, true).at(-1) ?? [];
  assert.equal(teardown[0], "setpriv");
  assert.equal(teardown.at(-1), "--teardown");
  assert.ok(!beforeUninstall(accounts, false).flat().includes("--teardown"));
});

test("guests are seen by what the kernel says of their cgroup", () => {
  const root = mkdtempSync(join(tmpdir(), "lobsterd-cgroup-"));
  try {
    assert.equal(guestsRun(root), false);
    const cgroup = join(root, describeHost(settings.domain, settings.slotCount).cgroup);
    mkdirSync(cgroup, { recursive: true });
    writeFileSync(join(cgroup, "cgroup.events"), "populated 0\nfrozen 0\n");
    assert.equal(guestsRun(root), false);
    writeFileSync(join(cgroup, "cgroup.events"), "populated 1\nfrozen 0\n");
    assert.equal(guestsRun(root), true);
  } finally {
    rmSync(root, { recursive: true });
  }
});
