import assert from "node:assert/strict";
import { test } from "node:test";
import { EgressMode, EgressProtocol } from "@lobsterd/proto/lobsterd/common/v1/network_pb.ts";
import { TenantState } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { fakeStack } from "../testing/fake-stack.ts";
import { fakeTenant } from "../testing/fake-tenant.ts";
import { runCommand } from "../testing/run-command.ts";

const withTenants = (...names: string[]) => {
  const stack = fakeStack();
  for (const name of names) stack.tenants.set(name, fakeTenant(name));
  return stack;
};

test("spawn sends what was asked for, and answers with the tenant", async () => {
  const stack = fakeStack();
  const asked = ["--image", "openclaw", "--vcpus", "2", "--memory", "512", "--label", "a=b=c", "--label", "d="];
  const { status, stdout, stderr } = await runCommand(
    ["spawn", "mia", ...asked, "--allow", "93.184.216.0/24:443/tcp", "--allow", "1.1.1.1", "--json"],
    { stack },
  );
  assert.deepEqual([status, stderr], [0, ""]);
  const { tenant } = JSON.parse(stdout);
  assert.partialDeepStrictEqual(tenant, {
    ...{ name: "mia", state: "TENANT_STATE_RUNNING", image: "openclaw", labels: { a: "b=c", d: "" } },
    ...{ resources: { vcpuCount: 2, memoryMib: 512, diskMib: 0 }, failureReason: "", generation: 1 },
  });
  const egress = stack.tenants.get("mia")?.egress;
  assert.equal(egress?.mode, EgressMode.LIST);
  assert.deepEqual(
    egress.rules.map(({ cidr, port, protocol }) => [cidr, port, protocol]),
    [
      ["93.184.216.0/24", 443, EgressProtocol.TCP],
      ["1.1.1.1/32", 0, EgressProtocol.UNSPECIFIED],
    ],
  );
});

test("spawn for a person shows the tenant in aligned lines", async () => {
  const { stdout } = await runCommand(["spawn", "mia", "--egress", "none"]);
  assert.match(stdout, /^name {8}mia\nstate {7}running\n/);
  assert.match(stdout, /^egress {6}none$/m);
});

test("spawn takes more host names, which are shown, and limits", async () => {
  const stack = fakeStack();
  const asked = ["--host-name", "a.example.org", "--host-name", "b.example.org", "--sent-kbits", "512"];
  const { status, stdout } = await runCommand(["spawn", "mia", ...asked, "--received-packets", "100"], { stack });
  assert.equal(status, 0);
  assert.match(stdout, /^host names {2}a\.example\.org b\.example\.org$/m);
  assert.partialDeepStrictEqual(stack.tenants.get("mia")?.networkLimits, { sentKbits: 512, receivedPackets: 100 });
  await runCommand(["spawn", "noa"], { stack });
  assert.equal(stack.tenants.get("noa")?.networkLimits, undefined);
  assert.equal((await runCommand(["spawn", "leo", "--sent-kbits", "fast"], { stack })).status, 2);
});

test("spawn takes a policy of idleness, get shows it and what keeps the tenant awake", async () => {
  const stack = fakeStack();
  const spawned = async (name: string, ...options: string[]) => {
    const { stdout } = await runCommand(["spawn", name, ...options], { stack });
    return /^idle +(.*)$/m.exec(stdout)?.[1];
  };
  assert.equal(await spawned("a", "--idle-after", "30"), "after 30 s");
  assert.equal(await spawned("b", "--idle", "manual"), "manual");
  assert.equal(await spawned("c", "--idle", "never"), "never");
  assert.equal(await spawned("d"), undefined);
  assert.match((await runCommand(["get", "a"], { stack })).stdout, /^awake by +hold\nlast busy +2023-11-14T22:13:20/m);
  for (const wrong of [
    ["--idle", "later"],
    ["--idle-after", "soon"],
    ["--idle", "never", "--idle-after", "5"],
  ])
    assert.equal((await runCommand(["spawn", "e", ...wrong], { stack })).status, 2, wrong.join(" "));
});

test("a spawn that may go on says how to wait for it, one that failed does not", async () => {
  const stack = fakeStack();
  stack.spawnFailure = "VM_AWAY";
  const id = "018f3a52-6b1e-7c70-9c39-0f6d6a1b2c01";
  const away = await runCommand(["spawn", "mia", "--request-id", id], { stack });
  assert.equal(away.status, 4);
  assert.match(away.stderr, new RegExp(`--request-id ${id}\n`));
  stack.spawnFailure = "HOST_FULL";
  const full = await runCommand(["spawn", "mia", "--request-id", id], { stack });
  assert.deepEqual([full.status, full.stderr], [7, "lobster: no spawn: HOST_FULL (HOST_FULL)\n"]);
});

test("spawn does not send what is wrong", async () => {
  const stack = fakeStack();
  for (const wrong of [
    ["--vcpus", "two"],
    ["--label", "novalue"],
    ["--label", "a=1", "--label", "a=2"],
    ["--allow", "example.org"],
    ["--egress", "some"],
    ["--egress", "none", "--allow", "1.1.1.1"],
    ["--value", "x"],
    ["second"],
  ]) {
    const { status, stdout, stderr } = await runCommand(["spawn", "mia", ...wrong], { stack });
    assert.deepEqual([status, stdout], [2, ""], wrong.join(" "));
    assert.match(stderr, /\(USAGE\)\ntry: lobster spawn --help\n$/, wrong.join(" "));
  }
  assert.equal(stack.tenants.size, 0);
});

test("ls reads every page, and aligns", async () => {
  const stack = withTenants("b", "longer-name", "a");
  const { stdout } = await runCommand(["ls"], { stack });
  const lines = stdout.trimEnd().split("\n");
  assert.deepEqual(
    lines.map((line) => line.split(/\s+/)[0]),
    ["NAME", "a", "b", "longer-name"],
  );
  assert.equal(new Set(lines.map((line) => line.search(/STATE|running/))).size, 1);
  const { tenants } = JSON.parse((await runCommand(["--json", "ls"], { stack })).stdout);
  assert.deepEqual(
    tenants.map(({ name }: { name: string }) => name),
    ["a", "b", "longer-name"],
  );
  assert.equal((await runCommand(["ls", "-q"], { stack })).stdout, "a\nb\nlonger-name\n");
  assert.deepEqual(JSON.parse((await runCommand(["ls", "--json"])).stdout), { tenants: [] });
});

test("get shows health; what a label holds does not reach the terminal as it is", async () => {
  const stack = fakeStack();
  stack.tenants.set("mia", fakeTenant("mia", { labels: { note: "\x1b[2J\u202ered\n" } }));
  const { stdout } = await runCommand(["get", "mia"], { stack });
  assert.match(stdout, /^agent {7}answers$/m);
  assert.match(stdout, /^workload {4}healthy$/m);
  assert.match(stdout, /^labels {6}note=\\x1b\[2J\\u202ered\\x0a$/m);
  const json = await runCommand(["get", "mia", "--json"], { stack });
  for (const character of ["\x1b", "\u202e"]) assert.ok(!json.stdout.includes(character));
  const answer = JSON.parse(json.stdout);
  assert.equal(answer.tenant.labels.note, "\x1b[2J\u202ered\n");
  assert.deepEqual(answer.health, { agentAnswers: true, workload: "WORKLOAD_HEALTH_HEALTHY" });
});

test("get and evict of a tenant that is not there are status 3 with the server's reason", async () => {
  const { status, stdout, stderr } = await runCommand(["get", "mia"]);
  assert.deepEqual([status, stdout, stderr], [3, "", "lobster: there is no tenant mia (TENANT_NOT_FOUND)\n"]);
  const json = await runCommand(["evict", "mia", "--json"]);
  assert.deepEqual(JSON.parse(json.stderr), {
    error: { reason: "TENANT_NOT_FOUND", message: "there is no tenant mia", exitStatus: 3 },
  });
});

test("evict evicts", async () => {
  const stack = withTenants("mia", "noa");
  const { status, stdout } = await runCommand(["evict", "mia"], { stack });
  assert.deepEqual([status, stdout, [...stack.tenants.keys()]], [0, "evicted mia\n", ["noa"]]);
  assert.deepEqual(JSON.parse((await runCommand(["evict", "noa", "--json"], { stack })).stdout), {});
});

test("egress shows the policy in the form in which it is given, and changes it", async () => {
  const stack = withTenants("mia");
  assert.equal((await runCommand(["egress", "mia"], { stack })).stdout, "internet\n");
  const rules = ["--allow", "93.184.216.0/24:443/tcp", "--allow", "9.9.9.9/32/udp"];
  const changed = await runCommand(["egress", "mia", ...rules], { stack });
  assert.deepEqual([changed.status, changed.stdout], [0, "93.184.216.0/24:443/tcp 9.9.9.9/32/udp\n"]);
  assert.equal((await runCommand(["egress", "mia", "--egress", "none"], { stack })).stdout, "none\n");
  const { tenant } = JSON.parse((await runCommand(["egress", "mia", "--json"], { stack })).stdout);
  assert.deepEqual(tenant.egress, { mode: "EGRESS_MODE_NONE", rules: [] });
});

test("suspend suspends; resume, which this server does not serve, is status 8", async () => {
  const stack = withTenants("mia");
  assert.match((await runCommand(["suspend", "mia"], { stack })).stdout, /^state {7}suspended$/m);
  const { status, stderr } = await runCommand(["resume", "mia"], { stack });
  assert.equal(status, 8);
  assert.match(stderr, /not implemented yet \(NOT_IMPLEMENTED\)\n$/);
});

test("hold takes one, renews it and says until when; get counts it, release ends it", async () => {
  const stack = withTenants("mia");
  const id = "d".repeat(32);
  const taken = await runCommand(["hold", "mia", "--for", "60"], { stack });
  assert.deepEqual([taken.status, taken.stdout], [0, `held until 2023-11-14T22:14:20.000Z by ${id}\n`]);
  assert.match((await runCommand(["get", "mia"], { stack })).stdout, /^holds {7}1$/m);
  const renewed = await runCommand(["hold", "mia", "--renew", "e".repeat(32), "--json"], { stack });
  assert.equal(JSON.parse(renewed.stdout).holdId, "e".repeat(32));
  assert.equal((await runCommand(["release", "mia", id], { stack })).stdout, `released ${id}\n`);
  assert.deepEqual([...stack.holds], ["e".repeat(32)]);
  for (const wrong of [
    ["--for", "soon"],
    ["--renew", "all"],
  ])
    assert.equal((await runCommand(["hold", "mia", ...wrong], { stack })).status, 2);
});

test("what the proto's rules refuse is status 2, what the role may not do status 5", async () => {
  assert.equal((await runCommand(["get", "UPPER"])).status, 2);
  const viewer = await runCommand(["evict", "mia"], { stack: fakeStack("role:viewer") });
  assert.equal(viewer.status, 5);
  assert.equal((await runCommand(["ls"], { stack: fakeStack("role:viewer") })).status, 0);
});

test("an interrupted command is status 130", async () => {
  const { status, stderr } = await runCommand(["get", "mia"], { signal: AbortSignal.abort() });
  assert.deepEqual([status, stderr], [130, "lobster: interrupted (INTERRUPTED)\n"]);
});

test("repair shows what was found, done and found again, and its status is whether the tenant is whole", async () => {
  const stack = withTenants("mia");
  const whole = await runCommand(["repair", "mia"], { stack });
  assert.deepEqual([whole.status, whole.stderr], [0, ""]);
  assert.match(whole.stdout, /^vm\.process +ok: running +ok: running$/m);
  assert.match(whole.stdout, /^nothing had to be done$/m);
  stack.tenants.set("leo", fakeTenant("leo", { state: TenantState.FAILED }));
  const broken = await runCommand(["repair", "leo"], { stack });
  assert.equal(broken.status, 1);
  assert.match(broken.stdout, /^vm\.process +FAILED: exited +FAILED: exited$/m);
  assert.match(broken.stdout, /^failed: boot-guest \(BOOT_FAILED\)$/m);
  assert.equal(
    JSON.parse((await runCommand(["repair", "leo", "--json"], { stack })).stdout).repairs[0].succeeded,
    false,
  );
  assert.equal((await runCommand(["repair", "none"], { stack })).status, 3);
});

test("update sends what is given and nothing else, and says what waits for the next boot", async () => {
  const stack = withTenants("mia");
  const labels = () => stack.tenants.get("mia")?.labels;
  const first = await runCommand(["update", "mia", "--label", "a=b", "--sent-kbits", "640"], { stack });
  assert.deepEqual([first.status, first.stderr, labels()], [0, "", { a: "b" }]);
  assert.equal(stack.tenants.get("mia")?.networkLimits?.sentKbits, 640);
  const second = await runCommand(["update", "mia", "--memory", "512", "--egress", "none"], { stack });
  assert.match(second.stdout, /^pending: resources$/m);
  assert.deepEqual([labels(), stack.tenants.get("mia")?.egress?.mode], [{ a: "b" }, EgressMode.NONE]);
  assert.equal(stack.tenants.get("mia")?.networkLimits?.sentKbits, 640);
  await runCommand(["update", "mia", "--no-labels"], { stack });
  assert.deepEqual(labels(), {});
  assert.equal((await runCommand(["update", "mia"], { stack })).status, 2, "nothing to change");
  assert.equal((await runCommand(["update", "mia", "--no-labels", "--label", "a=b"], { stack })).status, 2);
});
