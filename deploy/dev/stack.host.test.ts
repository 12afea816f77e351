import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { existsSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { networkInterfaces } from "node:os";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { Health } from "@lobsterd/proto/grpc/health/v1/health_pb.ts";
import { TenantService } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { openAs, openWith } from "./access-attempt.ts";
import { type CommandResult, run } from "./command.ts";
import { instanceFiles } from "./configuration.ts";
import { askSupervisor } from "./control.ts";
import { down, processesOf } from "./down.ts";
import { clientCaPath } from "./environment.ts";
import { type ClientName, type CredentialPaths, certificatePaths } from "./identities.ts";
import { describeInstance, innerPorts, isJailUid, serviceNames } from "./instance.ts";
import { diffInventories, takeInventory } from "./inventory.ts";
import { uplink } from "./outside.ts";
import { parsePrivilegeTable } from "./privilege-table.ts";
import { identifyProcess, isAlive, statusOf } from "./proc.ts";
import { type ProcessName, privileges, processNames, processSpecs } from "./processes.ts";
import { bringUp, type Stack } from "./stack.ts";
import { up } from "./up.ts";
import { readAccounts, serviceUsers } from "./users.ts";

// Not `test`, which the end-to-end stories use: both suites may run at the same time.
const instance = describeInstance("bench");
const skip = process.getuid?.() === 0 ? false : "needs root";
const silent = (): void => undefined;

let stack: Stack | undefined;
let inventoryBefore: string[] = [];

function running(): Stack {
  assert.ok(stack, "the stack is up");
  return stack;
}

before(
  async () => {
    if (skip !== false) return;
    await down(instance, silent);
    inventoryBefore = await takeInventory(instance.name);
    stack = await bringUp({ instance: instance.name });
  },
  { timeout: 600_000 },
);

after(
  async () => {
    if (skip === false) await down(instance, silent);
  },
  { timeout: 120_000 },
);

test("every process has exactly the user and capabilities of the architecture page", { skip }, async () => {
  const accounts = readAccounts();
  const table = parsePrivilegeTable(readFileSync(`${instance.checkout}/docs/architecture.md`, "utf8"));
  for (const { process: name, user, capabilities } of table) {
    const status = statusOf(await running().pid(name as ProcessName));
    assert.ok(status, name);
    const { uid, gid } = accounts.account(user);
    assert.deepEqual(status.uids, [uid, uid, uid, uid], `${name}: uids`);
    assert.deepEqual(status.gids, [gid, gid, gid, gid], `${name}: gids`);
    assert.deepEqual(status.capabilities.bounding, capabilities, `${name}: bounding`);
    assert.deepEqual(status.capabilities.ambient, capabilities, `${name}: ambient`);
    assert.deepEqual(status.capabilities.permitted, capabilities, `${name}: permitted`);
    const isService = serviceNames.some((one) => one === name);
    assert.deepEqual(status.groups, isService ? [accounts.group("lobsterd")] : [], `${name}: groups`);
  }
});

test("no process can gain privileges or leave a core, and none but the launcher's is root", { skip }, async () => {
  for (const name of processNames) {
    const pid = await running().pid(name);
    const status = statusOf(pid);
    assert.ok(status, name);
    assert.equal(status.noNewPrivileges, true, name);
    assert.equal(status.uids.includes(0), name === "vm-launcher", name);
    assert.match(readFileSync(`/proc/${pid}/limits`, "utf8"), /Max core file size\s+0\s+0/, name);
  }
});

test("all live in the instance's namespace, but the launcher in one that has nothing", { skip }, async () => {
  const own = readlinkSync("/proc/self/ns/net");
  const shared = `net:[${statSync(instance.netnsPath).ino}]`;
  for (const name of processNames) {
    const namespace = readlinkSync(`/proc/${await running().pid(name)}/ns/net`);
    assert.notEqual(namespace, own, name);
    assert.equal(namespace === shared, name !== "vm-launcher", name);
  }
  const links = readFileSync(`/proc/${await running().pid("vm-launcher")}/net/dev`, "utf8")
    .trim()
    .split("\n")
    .slice(2);
  assert.deepEqual(
    links.map((line) => line.trim().split(":")[0]),
    ["lo"],
  );
});

test("the environment of a process is what was granted", { skip }, async () => {
  for (const { name, environment } of processSpecs(instance)) {
    const text = readFileSync(`/proc/${await running().pid(name)}/environ`, "utf8");
    const names = text
      .split("\0")
      .filter(Boolean)
      .map((entry) => entry.split("=")[0] ?? "");
    const channel = name === "forwarder" ? ["NODE_CHANNEL_FD", "NODE_CHANNEL_SERIALIZATION_MODE"] : [];
    assert.deepEqual(names.sort(), [...Object.keys(environment), ...channel].sort(), name);
  }
});

test("only Caddy and proxy can open the admin socket", { skip }, async () => {
  const { adminSocketPath } = instanceFiles(instance);
  for (const user of [...serviceUsers, "nobody"]) {
    const allowed = user === "lobsterd-caddy" || user === "lobsterd-proxy";
    assert.equal(await openAs(user, "connect", adminSocketPath), allowed ? "ok" : "EACCES", user);
  }
});

test("no service user can open KVM, the launcher can", {
  skip: skip || (!existsSync("/dev/kvm") && "no /dev/kvm here"),
}, async () => {
  for (const user of serviceUsers) assert.equal(await openAs(user, "open", "/dev/kvm"), "EACCES", user);
  const launcher = processSpecs(instance).find(({ name }) => name === "vm-launcher");
  assert.ok(launcher);
  assert.equal(await openWith(privileges(launcher, readAccounts()), "open", "/dev/kvm"), "ok");
});

test("a service reads its own key and configuration and nobody else's", { skip }, async () => {
  const files = (name: string): string[] => [
    `${instance.stateDir}/certificates/${name}/key.pem`,
    `${instance.runDir}/config/${name}.json`,
  ];
  const secret = [instanceFiles(instance).rootKeyPath, `${instance.stateDir}/certificates/secrets/guest-ca-key.pem`];
  for (const reader of serviceNames) {
    for (const owner of serviceNames) {
      for (const path of [...files(owner), ...(owner === "secrets" ? secret : [])]) {
        const answer = await openAs(`lobsterd-${reader}`, "read", path);
        assert.equal(answer, reader === owner ? "ok" : "EACCES", `${reader} reads ${path}`);
      }
    }
    assert.equal(
      await openAs(`lobsterd-${reader}`, "read", `${instance.stateDir}/certificates/platform-ca-key.pem`),
      "EACCES",
    );
  }
});

test("operator and viewer are served; a stranger and a caller without certificate are refused", { skip }, async () => {
  for (const name of serviceNames) {
    assert.equal(await healthAs(instance.ports[name], "operator"), "SERVING");
    assert.equal(await healthAs(instance.ports[name], "viewer"), "SERVING");
    assert.match(await healthAs(instance.ports[name], "stranger"), /permission_denied/);
    assert.match(await healthAs(instance.ports[name], undefined), /unauthenticated/);
  }
});

test("the broker lets a service publish its own events and nothing else, and no client in", { skip }, async () => {
  const paths = certificatePaths(instance);
  const attempt = async (credential: CredentialPaths, ...action: readonly string[]): Promise<string> => {
    const script = fileURLToPath(new URL("./broker-probe.fixture.ts", import.meta.url));
    const files = [paths.platformCaPath, credential.certificatePath, credential.keyPath];
    const command = [process.execPath, script, ...files, ...action];
    return (await run(["nsenter", `--net=${instance.netnsPath}`, "--", ...command])).stdout;
  };
  const vm = paths.leaf("vm");
  assert.equal(await attempt(vm, "publish", "vm.v1._.tested"), "ok");
  assert.equal(await attempt(vm, "publish", "audit.v1._.tested"), "PermissionViolationError");
  assert.equal(await attempt(vm, "publish", "$JS.API.STREAM.DELETE.LOBSTERD_VM"), "PermissionViolationError");
  assert.equal(await attempt(vm, "subscribe", "vm.v1.>"), "PermissionViolationError");
  assert.equal(await attempt(vm, "subscribe", "_INBOX_audit.>"), "PermissionViolationError");
  assert.equal(await attempt(paths.client("operator"), "publish", "vm.v1._.tested"), "AuthorizationError");
  assert.equal(await attempt(paths.leaf("caddy"), "publish", "vm.v1._.tested"), "AuthorizationError");
});

test("nothing of the instance listens on the machine but the forwarded ports", { skip }, async () => {
  const { stdout } = await run(["ss", "--no-header", "--listening", "--tcp", "--numeric", "--processes"]);
  const supervisor = (await askSupervisor(instance.controlSocketPath, { verb: "status" }))?.pid;
  const ours = stdout.split("\n").filter((line) => line.includes(`pid=${supervisor},`));
  const addresses = ours.map((line) => line.split(/\s+/)[3]).sort();
  assert.deepEqual(
    addresses,
    Object.values(instance.ports)
      .map((port) => `127.0.0.1:${port}`)
      .sort(),
  );
});

test("the outside has one link, to the instance, and nothing listens there", { skip }, async () => {
  const { netns, outsideNetns } = instance;
  const linksOf = async (name: string) => (await run(["ip", "-netns", name, "-brief", "link"])).stdout;
  assert.match(await linksOf(outsideNetns), /^lo +[^\n]+\neth0@if\d+ +UP [^\n]+\n$/);
  assert.match(await linksOf(netns), /^up0@if\d+ +UP /m);
  const route = await run(["ip", "-netns", netns, "route", "show", "default"]);
  assert.equal(route.stdout.trim(), `default via ${uplink.outsideAddress} dev ${uplink.link}`);
  assert.equal((await fromOutside("ss", "--no-header", "--listening", "--tcp", "--udp", "--raw")).stdout, "");
  for (const name of [netns, outsideNetns]) {
    assert.equal((await run(["ip", "-netns", name, "-6", "address"])).stdout, "", `${name}: IPv6`);
  }
});

test("from outside, the front's ports answer and no other", { skip, timeout: 120_000 }, async () => {
  const script = fileURLToPath(new URL("./port-scan.fixture.ts", import.meta.url));
  const { stdout } = await fromOutside(process.execPath, script, uplink.address);
  assert.deepEqual(JSON.parse(stdout), [innerPorts.http, innerPorts.https]);
  // Datagrams need not be answered, so what would take them is read: the resolver that Caddy asks, on loopback.
  const sockets = await run(["nsenter", `--net=${instance.netnsPath}`, "--", "ss", "-H", "-l", "-u", "-n"]);
  const taking = sockets.stdout.trim().split("\n");
  assert.deepEqual(
    taking.map((line) => line.split(/\s+/)[3]),
    ["127.0.0.1:5053"],
  );
});

test("nothing of the machine is reachable from outside, even by routes through the instance", { skip }, async () => {
  const machine = Object.values(networkInterfaces()).flat();
  const addresses = machine.flatMap((one) => (one?.family === "IPv4" && !one.internal ? [one.address] : []));
  const listener = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve) => listener.listen(0, "0.0.0.0", () => resolve()));
  const address = listener.address();
  const port = typeof address === "object" ? (address?.port ?? 0) : 0;
  const reach = (host: string) => fromOutside("timeout", "1", "bash", "-c", `exec 3<>/dev/tcp/${host}/${port}`);
  try {
    for (const host of ["127.0.0.1", uplink.address, ...addresses]) {
      const route = ["ip", "-netns", instance.outsideNetns, "route", "replace", host, "via", uplink.address];
      if (addresses.includes(host)) await run(route);
      assert.notEqual((await reach(host)).status, 0, host);
    }
    const elsewhere = ["ip", "-netns", instance.outsideNetns, "route", "get", "192.0.2.1"];
    assert.notEqual((await run(elsewhere, { allowFailure: true })).status, 0, "there is no default route");
  } finally {
    for (const host of addresses) await run(["ip", "-netns", instance.outsideNetns, "route", "delete", host]);
    await new Promise((resolve) => listener.close(resolve));
  }
});

test("a process that dies comes back, and a second start finds the stack up", { skip }, async () => {
  for (const name of ["audit", "forwarder"] as const) {
    const pid = await running().pid(name);
    await running().killProcess(name, "SIGKILL");
    await running().waitReplaced(name, pid);
    await running().waitHealthy("audit");
  }
  assert.equal(await up(instance, silent), false);
});

test("only root may speak to the supervisor", { skip }, async () => {
  assert.equal(await openAs("nobody", "connect", instance.controlSocketPath), "EACCES");
  await assert.rejects(running().restart("absent" as ProcessName), /not a process of this stack/);
});

test("after the supervisor was killed a start replaces what it left running", { skip, timeout: 180_000 }, async () => {
  const pid = await running().pid("audit");
  await killSupervisor();
  assert.ok(identifyProcess(pid), "a service outlives its supervisor");
  assert.equal(await up(instance, silent), true);
  assert.notEqual(await running().pid("audit"), pid);
  assert.equal(identifyProcess(pid), undefined);
});

const noImage = !existsSync(`${instance.checkout}/.cache/images/base/manifest.json`) && "image base is not built";

// With its launcher alive the stack of the stories goes down each time.
test("down removes a running guest whose launcher and supervisor were killed", {
  skip: skip || noImage,
  timeout: 300_000,
}, async () => {
  await spawnTenant("left-alone");
  const guests = processesOf(instance).filter(({ pid }) => isJailUid(instance, statusOf(pid)?.uids[0] ?? 0));
  assert.equal(guests.length, 1, "one VMM runs");
  const launcher = await running().pid("vm-launcher");
  await killSupervisor();
  process.kill(launcher, "SIGKILL");
  assert.deepEqual(await down(instance, silent), []);
  assert.deepEqual(guests.filter(isAlive), []);
  assert.deepEqual(await changes(), []);
});

test("after the supervisor was killed and a part is gone, down leaves the machine as it was", {
  skip,
  timeout: 180_000,
}, async () => {
  await up(instance, silent);
  const left = spawn("nsenter", [`--net=${instance.outsideNetnsPath}`, "--", "sleep", "60"], { stdio: "ignore" });
  const ended = once(left, "exit");
  await killSupervisor();
  await run(["umount", "--lazy", `${instance.runDir}/app`]);
  await run(["ip", "netns", "delete", instance.netns]);
  assert.deepEqual(await down(instance, silent), []);
  assert.deepEqual(await changes(), []);
  await ended;
  assert.deepEqual(await down(instance, silent), [], "a second time is no error");
});

test("who is told to end while it has a stack takes it down first", { skip, timeout: 180_000 }, async () => {
  const script = `import { withStack } from ${JSON.stringify(new URL("./stack.ts", import.meta.url).href)};
    await withStack({ instance: "${instance.name}" }, async () => {
      process.stdout.write("up");
      await new Promise((resolve) => setTimeout(resolve, 170_000));
    });`;
  const parameters = ["--input-type=module", "--eval", script];
  const child = spawn(process.execPath, parameters, { stdio: ["ignore", "pipe", "inherit"] });
  const ended = once(child, "exit");
  await once(child.stdout, "data");
  child.kill("SIGTERM");
  assert.deepEqual(await ended, [null, "SIGTERM"]);
  assert.deepEqual(await changes(), []);
});

test("a taken port is named before anything is started", { skip }, async () => {
  await down(instance, silent);
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(instance.ports.net, "127.0.0.1", () => resolve()));
  try {
    await assert.rejects(up(instance, silent), new RegExp(`port ${instance.ports.net} \\(for net\\)`));
    assert.deepEqual(await changes(), []);
  } finally {
    await new Promise((resolve) => server.close(resolve));
  }
});

/** Runs a command where the internet would be. */
function fromOutside(...argv: readonly string[]): Promise<CommandResult> {
  const options = { allowFailure: true, timeoutMs: 100_000 };
  return run(["nsenter", `--net=${instance.outsideNetnsPath}`, "--", ...argv], options);
}

/** What differs from before the stack was started. Other suites make and remove namespaces of their own meanwhile. */
async function changes(): Promise<string[]> {
  const { added, removed } = diffInventories(inventoryBefore, await takeInventory(instance.name));
  return [...added, ...removed].filter((line) => !/^namespace machine (?!lobsterd-bench)/.test(line));
}

async function killSupervisor(): Promise<void> {
  const pid = (await askSupervisor(instance.controlSocketPath, { verb: "status" }))?.pid;
  const identity = pid === undefined ? undefined : identifyProcess(pid);
  assert.ok(identity);
  process.kill(identity.pid, "SIGKILL");
  for (let waitedMs = 0; identifyProcess(identity.pid) !== undefined && waitedMs < 5000; waitedMs += 20)
    await delay(20);
  assert.equal(await askSupervisor(instance.controlSocketPath, { verb: "status" }), undefined);
}

async function spawnTenant(name: string): Promise<void> {
  const operator = running().client("operator");
  const transport = createGrpcTransport({
    baseUrl: `https://127.0.0.1:${instance.ports.vm}`,
    nodeOptions: {
      ca: readFileSync(clientCaPath(instance)),
      cert: readFileSync(operator.certificatePath),
      key: readFileSync(operator.keyPath),
    },
  });
  await createClient(TenantService, transport).spawnTenant({ requestId: randomUUID(), name }, { timeoutMs: 120_000 });
}

async function healthAs(port: number, client: ClientName | undefined): Promise<string> {
  const paths = client === undefined ? undefined : running().client(client);
  const certificate =
    paths === undefined ? {} : { cert: readFileSync(paths.certificatePath), key: readFileSync(paths.keyPath) };
  const transport = createGrpcTransport({
    baseUrl: `https://127.0.0.1:${port}`,
    nodeOptions: { ca: readFileSync(clientCaPath(instance)), ...certificate },
  });
  try {
    const { status } = await createClient(Health, transport).check({}, { timeoutMs: 5000 });
    return status === 1 ? "SERVING" : String(status);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
