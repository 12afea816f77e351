import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { describeInstance } from "../dev/instance.ts";
import { isProcessName } from "../dev/processes.ts";
import { openStack } from "../dev/stack.ts";
import { processTable } from "../test/architecture-tables.ts";
import { env, evict, instance, spawn } from "./subject.ts";

const stack = openStack(describeInstance(instance));
const vmName = "jailed";
let slot = 0;

before(async () => {
  ({ slot } = await spawn(vmName));
});

after(() => evict(vmName));

function statusOf(pid: number): Map<string, string> {
  const text = readFileSync(`/proc/${pid}/status`, "utf8");
  return new Map(text.split("\n").map((line) => [line.split(":")[0] ?? "", line.split(":")[1]?.trim() ?? ""]));
}

function uidOf(user: string): number {
  const line = readFileSync("/etc/passwd", "utf8")
    .split("\n")
    .find((entry) => entry.startsWith(`${user}:`));
  assert.ok(line !== undefined, `user ${user} exists`);
  return Number(line.split(":")[2]);
}

const capabilityNumbers: Readonly<Record<string, bigint>> = {
  CHOWN: 0n,
  DAC_OVERRIDE: 1n,
  FOWNER: 3n,
  KILL: 5n,
  SETGID: 6n,
  SETUID: 7n,
  SETPCAP: 8n,
  NET_BIND_SERVICE: 10n,
  NET_ADMIN: 12n,
  SYS_CHROOT: 18n,
  SYS_ADMIN: 21n,
  MKNOD: 27n,
};

const maskOf = (names: readonly string[]) =>
  names.reduce((mask, name) => mask | (1n << (capabilityNumbers[name] ?? 63n)), 0n);

for (const { process, user, capabilities } of processTable()) {
  test(`${process} runs as ${user} with exactly ${capabilities.join(" ") || "no capability"}`, async () => {
    assert.ok(isProcessName(process));
    const status = statusOf(await stack.pid(process));
    assert.deepEqual(new Set(status.get("Uid")?.split("\t")), new Set([String(uidOf(user))]));
    for (const set of ["CapEff", "CapPrm", "CapBnd"]) {
      assert.equal(BigInt(`0x${status.get(set)}`), maskOf(capabilities), set);
    }
    assert.equal(status.get("NoNewPrivs"), "1");
  });
}

/** Pids of processes with this effective uid. */
function pidsOfUid(uid: number): readonly number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return statusOf(pid).get("Uid")?.split("\t")[1] === String(uid);
      } catch {
        // It ended meanwhile.
        return false;
      }
    });
}

test("the VMM runs as its slot's own uid, without capabilities, with a filter on every thread, in its own namespaces", () => {
  const pids = pidsOfUid(stack.instance.firstJailUid + slot);
  assert.equal(pids.length, 1, `processes of uid ${stack.instance.firstJailUid + slot}`);
  const [pid = 0] = pids;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    const status = new Map(
      readFileSync(`/proc/${pid}/task/${thread}/status`, "utf8")
        .split("\n")
        .map((line) => [line.split(":")[0] ?? "", line.split(":")[1]?.trim() ?? ""]),
    );
    for (const set of ["CapEff", "CapPrm", "CapBnd", "CapAmb"]) assert.equal(BigInt(`0x${status.get(set)}`), 0n, set);
    assert.equal(status.get("Seccomp"), "2");
    assert.equal(status.get("NoNewPrivs"), "1");
  }
});

/** Runs a program as another user, without groups or capabilities. */
function asUser(uid: number, gid: number, ...argv: string[]): number | null {
  const drop = [
    "--reuid",
    String(uid),
    "--regid",
    String(gid),
    "--clear-groups",
    "--inh-caps=-all",
    "--bounding-set=-all",
  ];
  return spawnSync("setpriv", [...drop, "--no-new-privs", "--", ...argv], { timeout: 10_000 }).status;
}

const openForWriting = (path: string) => ["dd", "if=/dev/null", `of=${path}`, "conv=notrunc", "status=none"];

test("only root, and so the launcher, can open /dev/kvm", () => {
  for (const { user } of processTable().filter(({ user: name }) => name !== "root")) {
    assert.notEqual(asUser(uidOf(user), uidOf(user), ...openForWriting("/dev/kvm")), 0, user);
  }
});

test("only proxy and Caddy can open Caddy's admin socket", () => {
  const socket = join(env.LOBSTERD_RUN_DIR, "caddy-admin", "admin.sock");
  const connects = [
    "node",
    "-e",
    `require("net").connect(${JSON.stringify(socket)}).on("connect",()=>process.exit(0)).on("error",()=>process.exit(1))`,
  ];
  for (const { user } of processTable().filter(({ user: name }) => name !== "root")) {
    const gid = spawnSync("id", ["-g", user], { encoding: "utf8" }).stdout.trim();
    const expected = user === "lobsterd-proxy" || user === "lobsterd-caddy";
    assert.equal(asUser(uidOf(user), Number(gid), ...connects) === 0, expected, user);
  }
  assert.notEqual(asUser(60_001, 60_001, ...connects), 0, "an ordinary user");
});
