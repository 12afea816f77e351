import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { describeInstance } from "./instance.ts";
import { parsePrivilegeTable } from "./privilege-table.ts";
import { launchCommand, type ProcessSpec, privileges, processNames, processSpecs } from "./processes.ts";
import { readAccounts } from "./users.ts";

const instance = describeInstance("dev", "/checkout");
const users = ["root:x:0:0", "nobody:x:65534:65534", "lobsterd-vm:x:501:601", "lobsterd-net:x:502:602"];
const more = ["proxy", "secrets", "audit", "caddy", "nats"].map(
  (name, index) => `lobsterd-${name}:x:${503 + index}:${603 + index}`,
);
const accounts = readAccounts([...users, ...more].join("\n"), "lobsterd:x:700:");
const architecture = readFileSync(new URL("../../docs/architecture.md", import.meta.url), "utf8");

function specOf(name: string): ProcessSpec {
  const spec = processSpecs(instance).find((one) => one.name === name);
  assert.ok(spec, name);
  return spec;
}

test("users and capabilities are those of the architecture page", () => {
  const rows = parsePrivilegeTable(architecture);
  assert.equal(rows.length, 8);
  for (const { process, user, capabilities } of rows) {
    const spec = specOf(process);
    assert.equal(spec.user, user, process);
    assert.deepEqual([...spec.capabilities].sort(), capabilities, process);
  }
});

test("a process that the page does not name has no capability", () => {
  const named = new Set(parsePrivilegeTable(architecture).map(({ process }) => process));
  const others = processNames.filter((name) => !named.has(name));
  assert.deepEqual(others, ["trace-receiver", "forwarder"]);
  for (const name of others) {
    assert.deepEqual(specOf(name).capabilities, []);
    assert.equal(specOf(name).user, "nobody");
  }
});

test("the command line gives up everything but what is granted", () => {
  assert.deepEqual(privileges(specOf("net"), accounts), [
    ...["setpriv", "--reuid=502", "--regid=602", "--groups=700"],
    ...["--inh-caps=-all,+net_admin,+sys_admin", "--ambient-caps=-all,+net_admin,+sys_admin"],
    ...["--bounding-set=-all,+net_admin,+sys_admin", "--no-new-privs", "--"],
  ]);
  const secrets = privileges(specOf("secrets"), accounts);
  assert.ok(secrets.includes("--bounding-set=-all"));
  assert.ok(privileges(specOf("caddy"), accounts).includes("--clear-groups"));
});

test("only the launcher is outside the instance's namespace, in an empty one", () => {
  for (const spec of processSpecs(instance)) {
    const [first, second] = launchCommand(spec, instance, accounts);
    const expected = spec.name === "vm-launcher" ? ["unshare", "--net"] : ["nsenter", "--net=/run/netns/lobsterd-dev"];
    assert.deepEqual([first, second], expected, spec.name);
  }
});

test("the environment is the path, telemetry and Caddy's directories", () => {
  for (const { name, environment } of processSpecs(instance)) {
    const extra = Object.keys(environment).filter((key) => key !== "PATH" && !key.startsWith("OTEL_"));
    assert.deepEqual(extra, name === "caddy" ? ["XDG_DATA_HOME", "XDG_CONFIG_HOME"] : [], name);
  }
});

test("every Node process has no debugger signal", () => {
  const nodes = processSpecs(instance).filter(({ command }) => command[0]?.endsWith("/bin/node"));
  assert.equal(nodes.length, 8);
  for (const { name, command } of nodes) {
    assert.deepEqual(command.slice(1, 3), ["--disable-sigusr1", "--report-exclude-env"], name);
  }
});

test("files are closed to others, and Caddy's socket is open to its group", () => {
  for (const { name, umask } of processSpecs(instance)) assert.equal(umask, name === "caddy" ? 0o007 : 0o077, name);
});

test("a missing user is an error and not root", () => {
  assert.throws(
    () => privileges({ user: "absent", supplementaryGroups: [], capabilities: [] }, accounts),
    /user absent/,
  );
});
