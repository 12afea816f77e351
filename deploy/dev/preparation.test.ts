import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { readLock } from "./debian-archive.ts";
import { clientEnvironment, environmentText } from "./environment.ts";
import { isForwardTarget } from "./forwarding.ts";
import { describeInstance, presentStacks } from "./instance.ts";
import { withoutDaemons } from "./packages.ts";
import { grantTunDevice, restoreTunDevice } from "./tun-device.ts";

const directory = mkdtempSync(join(tmpdir(), "lobsterd-runner-"));
after(() => rmSync(directory, { recursive: true }));

test("while packages are installed no daemon may start, and the machine's own policy comes back", async () => {
  const paths = { policy: join(directory, "policy"), saved: join(directory, "saved") };
  writeFileSync(paths.policy, "their own");
  await assert.rejects(
    withoutDaemons(async () => {
      assert.match(readFileSync(paths.policy, "utf8"), /exit 101/);
      assert.equal(statSync(paths.policy).mode & 0o777, 0o755);
      throw new Error("install failed");
    }, paths),
    /install failed/,
  );
  assert.equal(readFileSync(paths.policy, "utf8"), "their own");
  assert.equal(existsSync(paths.saved), false);
});

test("without a policy of its own the machine has none afterwards", async () => {
  const paths = { policy: join(directory, "none"), saved: join(directory, "none-saved") };
  await withoutDaemons(async () => undefined, paths);
  assert.equal(existsSync(paths.policy), false);
});

test("a policy that a killed run put aside comes back", async () => {
  const paths = { policy: join(directory, "killed"), saved: join(directory, "killed-saved") };
  writeFileSync(paths.saved, "their own");
  writeFileSync(paths.policy, "ours, left behind");
  await withoutDaemons(async () => undefined, paths);
  assert.equal(readFileSync(paths.policy, "utf8"), "their own");
});

test("the tun device is opened to one group and given back as it was", () => {
  const paths = { device: join(directory, "tun"), saved: join(directory, "tun-saved") };
  writeFileSync(paths.device, "");
  chmodSync(paths.device, 0o600);
  const user = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  assert.equal(grantTunDevice(user, paths), true);
  assert.equal(statSync(paths.device).mode & 0o777, 0o660);
  assert.equal(grantTunDevice(user, paths), false);
  restoreTunDevice(paths);
  assert.equal(statSync(paths.device).mode & 0o777, 0o600);
  restoreTunDevice(paths);
});

test("a device that is open to all is left alone", () => {
  const paths = { device: join(directory, "open"), saved: join(directory, "open-saved") };
  writeFileSync(paths.device, "");
  chmodSync(paths.device, 0o666);
  assert.equal(grantTunDevice({ uid: 1, gid: 1 }, paths), false);
  assert.equal(existsSync(paths.saved), false);
});

test("the lock pins the programs that the stack runs", () => {
  const programs = readLock().packages.flatMap((one) => Object.keys(one.programs));
  assert.deepEqual(programs, ["usr/bin/caddy", "usr/sbin/nats-server"]);
});

test("the environment file survives any path", () => {
  assert.equal(environmentText({ A: "it's here" }), "export A='it'\\''s here'\n");
  const environment = clientEnvironment(describeInstance("dev", "/checkout"));
  assert.equal(environment["LOBSTERD_GRPC"], "localhost:7601");
  assert.equal(environment["LOBSTERD_GRPC_AUDIT"], "localhost:7605");
  assert.equal(environment["LOBSTERD_HTTPS"], "127.0.0.1:8443");
});

test("the forwarder connects to what is a target and to nothing else", () => {
  assert.ok(isForwardTarget({ kind: "unix", path: "/x" }));
  assert.ok(isForwardTarget({ kind: "tcp", port: 443 }));
  for (const value of [undefined, {}, { kind: "tcp" }, { kind: "unix", path: 1 }, { kind: "udp", port: 1 }]) {
    assert.equal(isForwardTarget(value), false);
  }
});

test("users stay as long as any stack has files, one that systemd runs among them", () => {
  const root = mkdtempSync(join(tmpdir(), "lobsterd-stacks-"));
  try {
    assert.deepEqual(presentStacks([root]), []);
    mkdirSync(join(root, "somebody-elses"));
    assert.deepEqual(presentStacks([root]), []);
    mkdirSync(join(root, "main"));
    assert.deepEqual(presentStacks([`${root}/absent`, root]), ["main"]);
  } finally {
    rmSync(root, { recursive: true });
  }
});
