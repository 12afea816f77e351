import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { chmodSync, chownSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { Client } from "@connectrpc/connect";
import { createServiceClient } from "@lobsterd/chassis/client.ts";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { testCertificates } from "@lobsterd/chassis/testing-certificates.ts";
import { NetworkService } from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";
import { createProcessRunner } from "./host/process.ts";
import { cannotRun, type Ground, makeGround } from "./testing/ground.ts";

const user = 64_917;
const startLimits = { timeoutMs: 60_000, intervalMs: 50 };
const capabilities = "-all,+net_admin,+sys_admin";
const a = "a".repeat(32);
const b = "b".repeat(32);

/** The whole process, as its own user with its own capabilities, in a network namespace of the test's. */
describe("the net process", { skip: cannotRun }, () => {
  let ground: Ground;
  let holder: ChildProcess;
  let service: ChildProcess | undefined;
  let client: Client<typeof NetworkService>;
  let operator: Client<typeof NetworkService>;
  let configPath: string;

  before(async () => {
    ground = await makeGround();
    holder = await holdMounts(ground);
    configPath = configure(ground);
    const tls = (name: string) => ({
      certificatePath: join(ground.directory, "pki", `${name}.pem`),
      keyPath: join(ground.directory, "pki", `${name}.key.pem`),
      platformCaPath: join(ground.directory, "pki", "platform-ca.pem"),
      trustDomain: "test",
    });
    const peer = { service: "net", unixPath: join(ground.directory, "run", "rpc.sock") };
    client = createServiceClient(NetworkService, peer, tls("vm"));
    operator = createServiceClient(NetworkService, peer, tls("operator"));
  });

  after(async () => {
    await stop("SIGKILL");
    const inside = entering(holder);
    await createProcessRunner().run([...inside, process.execPath, mainPath, "--teardown", "--config", configPath], {
      timeoutMs: 60_000,
    });
    const left = await ground.host.run(["ip", "-brief", "link", "show", "type", "veth"]);
    const tables = await ground.host.run(["nft", "list", "tables"]);
    holder.kill("SIGKILL");
    await ground.remove();
    assert.doesNotMatch(left, /lob-/);
    assert.equal(tables, "");
  });

  const mainPath = new URL("./main.ts", import.meta.url).pathname;

  function entering(target: ChildProcess): [string, ...string[]] {
    return [
      "nsenter",
      `--target=${target.pid}`,
      "--mount",
      `--net=${ground.path("host")}`,
      "--",
      "setpriv",
      `--reuid=${user}`,
      `--regid=${user}`,
      "--clear-groups",
      "--no-new-privs",
      `--inh-caps=${capabilities}`,
      `--ambient-caps=${capabilities}`,
      `--bounding-set=${capabilities}`,
      "--",
    ];
  }

  async function start(): Promise<void> {
    const [program, ...parameters] = [...entering(holder), process.execPath, mainPath, "--config", configPath];
    service = spawn(program ?? "", parameters, { stdio: ["ignore", "ignore", "inherit"] });
    await waitFor(
      "the service to answer",
      async () => {
        assert.equal(service?.exitCode, null, "the service ended");
        return await client.listNetworks({}, { timeoutMs: 1000 }).catch(() => undefined);
      },
      startLimits,
    );
  }

  async function stop(signal: NodeJS.Signals): Promise<number | null> {
    const child = service;
    if (child === undefined) return null;
    service = undefined;
    const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
    if (child.exitCode === null) child.kill(signal);
    return child.exitCode ?? (await ended);
  }

  const guests = (): Promise<string> => ground.host.run(["nft", "list", "set", "inet", "lobsterd", "guests"]);
  const attach = (vmId: string, slot: number) => client.attachNetwork({ requestId: randomUUID(), vmId, slot });

  test("runs as its user with exactly its capabilities", async () => {
    await start();
    const status = readFileSync(`/proc/${service?.pid}/status`, "utf8");
    for (const line of ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"])
      assert.match(status, new RegExp(`^${line}:\\s+0000000000201000$`, "m"));
    assert.match(status, /^NoNewPrivs:\s+1$/m);
    assert.match(status, new RegExp(`^Uid:\\s+${user}\\s+${user}\\s`, "m"));
  });

  test("attaches, and refuses those who may not", async () => {
    const { network } = await attach(a, 0);
    assert.equal(network?.guestAddress, "10.201.0.1");
    assert.match(await guests(), /"lob-0"/);
    await assert.rejects(operator.detachNetwork({ requestId: randomUUID(), vmId: a }), /permission_denied/);
    assert.equal((await operator.getNetwork({ vmId: a })).network?.slot, 0);
  });

  test("killed at any point and started again, it has what it recorded", async () => {
    const racing = attach(b, 1).catch(() => undefined);
    await stop("SIGKILL");
    await racing;
    await start();
    const { networks } = await client.listNetworks({});
    const text = await guests();
    assert.ok(networks.some(({ vmId }) => vmId === a));
    for (const { hostInterface } of networks) assert.ok(text.includes(`"${hostInterface}"`));
    assert.equal(text.match(/"lob-/g)?.length, networks.length);
    await attach(b, 1);
    assert.match(await guests(), /"lob-1"/);
  });

  test("a stop and a start leave running guests alone", async () => {
    const before = await ground.host.run(["ip", "-brief", "link", "show", "type", "veth"]);
    assert.equal(await stop("SIGTERM"), 0);
    assert.match(await guests(), /"lob-0".*"lob-1"/s);
    await start();
    const links = (text: string): string[] => text.split("\n").filter((line) => /^lob-[01]@/.test(line));
    assert.deepEqual(links(await ground.host.run(["ip", "-brief", "link", "show", "type", "veth"])), links(before));
    await client.detachNetwork({ requestId: randomUUID(), vmId: a });
    assert.doesNotMatch(await guests(), /"lob-0"/);
  });

  test("with an nft that loads no rules it answers nobody and ends", async () => {
    await stop("SIGTERM");
    await ground.host.run(["nft", "flush", "ruleset"]);
    await insideMounts("cp", "/usr/sbin/nft", join(ground.directory, "nft-honest"));
    const lie = join(ground.directory, "nft");
    const text = `#!/bin/sh\ncase " $* " in *" -f "*) exec cat ;; esac\nexec ${lie}-honest "$@"\n`;
    writeFileSync(lie, text, { mode: 0o755 });
    await insideMounts("mount", "--bind", lie, "/usr/sbin/nft");
    try {
      await assert.rejects(start(), /the service ended/);
      assert.equal(await stop("SIGKILL"), 1);
    } finally {
      await insideMounts("umount", "/usr/sbin/nft");
    }
    await start();
    assert.match(await guests(), /"lob-1"/);
  });

  async function insideMounts(...argv: [string, ...string[]]): Promise<void> {
    await createProcessRunner().run(["nsenter", `--target=${holder.pid}`, "--mount", "--", ...argv]);
  }
});

/**
 * A mount namespace that outlives the service, as the machine's own does, in which the service's user may open the tun device;
 * the machine's own device node is not touched.
 */
async function holdMounts(ground: Ground): Promise<ChildProcess> {
  const node = join(ground.directory, "tun");
  const runner = createProcessRunner();
  await runner.run(["mknod", "-m", "0666", node, "c", "10", "200"]);
  const holder = spawn("unshare", ["--mount", "--propagation", "private", "tail", "-f", "/dev/null"], {
    stdio: "ignore",
  });
  await waitFor(
    "the holder's mount namespace",
    async () => {
      const own = await runner.run(["readlink", "/proc/self/ns/mnt"]);
      const its = await runner.run(["readlink", `/proc/${holder.pid}/ns/mnt`]);
      return own === its ? undefined : its;
    },
    startLimits,
  );
  await runner.run(["nsenter", `--target=${holder.pid}`, "--mount", "--", "mount", "--bind", node, "/dev/net/tun"]);
  return holder;
}

function configure(ground: Ground): string {
  const own = (name: string): string => {
    const path = join(ground.directory, name);
    mkdirSync(path, { recursive: true, mode: 0o755 });
    chownSync(path, user, user);
    return path;
  };
  chmodSync(ground.directory, 0o755);
  const ca = testCertificates(join(ground.directory, "pki"));
  const leaf = ca.issue("net", ["spiffe://test/svc/net"]);
  ca.issue("vm", ["spiffe://test/svc/vm"]);
  ca.issue("operator", ["spiffe://test/client/operator"]);
  chmodSync(join(ground.directory, "pki"), 0o755);
  chownSync(leaf.keyPath, user, user);
  const rolesPath = join(ground.directory, "roles.json");
  writeFileSync(rolesPath, JSON.stringify({ "spiffe://test/client/operator": "operator" }));
  const revocationsPath = join(ground.directory, "revocations.json");
  writeFileSync(revocationsPath, "{}");
  const configPath = join(ground.directory, "net.json");
  const config = {
    service: "net",
    hostId: "host-1",
    trustDomain: "test",
    logLevel: "error",
    listen: { unixPath: join(own("run"), "rpc.sock") },
    tls: { ...leaf, platformCaPath: ca.caPath },
    stateDir: own("state"),
    rolesPath,
    revocationsPath,
    netnsDir: own("netns"),
    slotCount: 3,
    jailUidBase: 900_000_000,
    uplinkInterface: "up0",
    peers: { audit: join(own("audit"), "rpc.sock") },
  };
  writeFileSync(configPath, JSON.stringify(config));
  return configPath;
}
