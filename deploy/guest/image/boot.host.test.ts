import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema } from "@lobsterd/proto/google/rpc/error_details_pb.ts";
import { type InjectedSecret, WorkloadState } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { WebSocket } from "ws";
import type { Run, RunResult } from "../probe/run.ts";
import { type BareGuest, bootTrustDomain, startBareGuest } from "./bare-boot.ts";
import type { Leaf } from "./boot-authority.ts";
import { agentClient, agentPort, callFront, connectGuest, frontPort } from "./boot-client.ts";
import { gatewayAddress } from "./boot-network.ts";
import { buildImage } from "./image.ts";

const repository = new URL("../../..", import.meta.url).pathname;
const out = `${repository}.cache/images`;
/** Boots share two cores with whatever else runs: this bounds a hang, it measures nothing. */
const bootLimitMs = 180_000;
const traceId = randomBytes(16).toString("hex");
const traceparent = `00-${traceId}-00f067aa0ba902b7-01`;
const token = Buffer.from(randomBytes(32).toString("base64url"));
const apiKey = randomBytes(40);

type InjectedTarget = InjectedSecret["target"];

let guest: BareGuest;
const leaves = new Map<string, Leaf>();

function leaf(name: string): Leaf {
  const found = leaves.get(name);
  assert.ok(found !== undefined, name);
  return found;
}

async function asService<T>(
  name: string,
  use: (client: ReturnType<typeof agentClient>["client"]) => Promise<T>,
): Promise<T> {
  const token = name === "secrets" ? guest.tokens.secrets : guest.tokens.vm;
  const { client, close } = agentClient(guest, leaf(name), token);
  try {
    return await use(client);
  } finally {
    close();
  }
}

function reasonOf(error: unknown): { code: Code; reason: string | undefined; domain: string | undefined } {
  const connectError = ConnectError.from(error);
  const [info] = connectError.findDetails(ErrorInfoSchema);
  return { code: connectError.code, reason: info?.reason, domain: info?.domain };
}

async function refusal(call: Promise<unknown>): Promise<ReturnType<typeof reasonOf>> {
  return call.then(
    () => assert.fail("the call was answered"),
    (error: unknown) => reasonOf(error),
  );
}

before(
  async () => {
    await buildImage("probe", { out, repository, force: false, progress: () => undefined });
    guest = await startBareGuest({
      image: `${out}/probe`,
      expectInjection: true,
      traceparent,
      resolvers: [gatewayAddress],
    });
    for (const name of ["vm", "secrets", "caddy", "net"]) {
      leaves.set(name, await guest.platform.issue({ uri: `spiffe://${bootTrustDomain}/svc/${name}` }));
    }
    leaves.set("guest", await guest.guests.issue({ uri: `spiffe://${bootTrustDomain}/svc/vm` }));
    const past = new Date(Date.now() - 3_600_000);
    leaves.set(
      "expired",
      await guest.platform.issue({
        uri: `spiffe://${bootTrustDomain}/svc/vm`,
        notBefore: past,
        notAfter: new Date(Date.now() - 60_000),
      }),
    );
    const limit = performance.now() + bootLimitMs;
    for (;;) {
      const answer = await asService("vm", (client) => client.health({}, { timeoutMs: 10_000 })).catch(
        (error: unknown) => error,
      );
      if (!(answer instanceof Error)) break;
      if (performance.now() > limit || guest.process.exitCode !== null)
        throw new Error("the guest does not answer", { cause: answer });
      await delay(50);
    }
  },
  { timeout: bootLimitMs + 120_000 },
);
after(async () => {
  await guest?.stop();
});

test("the agent says who it is and waits for secrets, with the gateway's port closed", async () => {
  const health = await asService("vm", (client) => client.health({}));
  assert.equal(health.vmId, guest.identity.vmId);
  assert.equal(health.generation, 1);
  assert.equal(health.workloadState, WorkloadState.WAITING_FOR_SECRETS);
  await assert.rejects(callFront(guest, { path: "/health", leaf: leaf("caddy") }));
});

/** What came back before the connection ended: bytes of the protocol inside TLS, and the alert that ended it. */
async function rejection(
  port: number,
  caller: Parameters<typeof connectGuest>[2],
): Promise<{ bytes: number; alert: string }> {
  const socket = connectGuest(guest, port, caller);
  const seen = { bytes: 0, alert: "" };
  socket.on("data", (chunk: Buffer) => {
    seen.bytes += chunk.length;
  });
  socket.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code?.startsWith("ERR_SSL_")) seen.alert = error.code.slice("ERR_SSL_".length);
  });
  socket.on("secureConnect", () => {
    seen.alert = "dropped";
    socket.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  });
  await new Promise((resolve) => socket.once("close", resolve));
  return seen;
}

const refusedCallers = [
  { what: "without a certificate", alert: "dropped" },
  { what: "with a guest's certificate", name: "guest", alert: "dropped" },
  { what: "with an expired certificate", name: "expired", alert: "dropped" },
  { what: "with the certificate of net", name: "net", alert: "dropped" },
  { what: "with the certificate of caddy", name: "caddy", alert: "dropped" },
  { what: "over TLS 1.2", name: "vm", maxVersion: "TLSv1.2", alert: "TLSV1_ALERT_PROTOCOL_VERSION" },
] as const;
for (const { what, alert, ...caller } of refusedCallers) {
  test(`a caller ${what} gets no byte from the agent`, async () => {
    const { name, ...rest } = { name: undefined, ...caller };
    const seen = await rejection(agentPort, { ...rest, ...(name === undefined ? {} : { leaf: leaf(name) }) });
    assert.deepEqual(seen, { bytes: 0, alert });
  });
}

test("the right services for the wrong RPC, or without their token, are refused", async () => {
  const denied = { code: Code.PermissionDenied, reason: "NOT_ALLOWED", domain: "agent.lobsterd" };
  assert.deepEqual(await refusal(asService("vm", (client) => client.injectSecrets({}))), denied);
  assert.deepEqual(await refusal(asService("secrets", (client) => client.shutdown({}))), denied);
  for (const token of [undefined, guest.tokens.secrets]) {
    const { client, close } = agentClient(guest, leaf("vm"), token);
    assert.equal((await refusal(client.health({}))).reason, "TOKEN_REFUSED");
    close();
  }
});

test("what goes on in the guest is told to vm, and of what nobody does nothing", async () => {
  const { inboundConnections, holds, runningJobs } = await asService("vm", (client) => client.getActivity({}));
  assert.deepEqual([inboundConnections, holds, runningJobs], [0, 0, 0]);
});

test("a value or place that does not fit the workload is refused, and nothing of its set is there", async () => {
  const refused = async (target: InjectedTarget, value = Buffer.from("text")) =>
    (
      await refusal(
        asService("secrets", (client) =>
          client.injectSecrets({ secrets: [{ name: "k", version: 1, value: { value }, target }] }),
        ),
      )
    ).reason;
  assert.equal(await refused({ case: "environmentVariable", value: "lower" }), "INVALID_FIELD");
  assert.equal(await refused({ case: "environmentVariable", value: "K" }, Buffer.from("a\0b")), "INVALID_FIELD");
  assert.equal(await refused({ case: "environmentVariable", value: "K" }, Buffer.of(0xff)), "INVALID_FIELD");
  assert.equal(await refused({ case: "configurationPointer", value: "no-slash" }), "INVALID_FIELD");
  assert.equal(await refused({ case: "configurationPointer", value: "/tenant/x" }), "INVALID_FIELD");
  assert.equal(await refused({ case: "configurationPointer", value: "/__proto__/x" }), "INVALID_FIELD");
  assert.equal((await asService("vm", (client) => client.health({}))).workloadState, WorkloadState.WAITING_FOR_SECRETS);
});

test("malformed and oversized requests are refused", async () => {
  const invalid = { code: Code.InvalidArgument, reason: "INVALID_FIELD", domain: "agent.lobsterd" };
  const secret = (name: string, bytes: number) => ({ name, version: 1, value: { value: new Uint8Array(bytes) } });
  const inject = (...secrets: ReturnType<typeof secret>[]) =>
    refusal(asService("secrets", (client) => client.injectSecrets({ secrets })));
  assert.deepEqual(await inject(secret("../escape", 1)), invalid);
  assert.deepEqual(await inject(secret("same", 1), secret("same", 1)), invalid);
  assert.deepEqual(await inject(secret("empty", 0)), invalid);
  assert.deepEqual(await inject(secret("large", 65_537)), invalid);
  assert.deepEqual(
    await refusal(asService("vm", (client) => client.health({ wait: durationFromMs(10_001) }))),
    invalid,
  );
  assert.equal((await inject(secret("huge", 1024 * 1024))).code, Code.ResourceExhausted);
});

test("injected secrets start the workload, and one trace tells about it", { timeout: bootLimitMs }, async () => {
  const secrets = [
    { name: "gateway-token", version: 1, value: { value: token } },
    { name: "api-key", version: 2, value: { value: apiKey } },
  ];
  await asService("secrets", (client) => client.injectSecrets({ secrets }, { headers: { traceparent } }));
  let health = await asService("vm", (client) => client.health({}));
  for (const limit = performance.now() + bootLimitMs; health.workloadState !== WorkloadState.HEALTHY; ) {
    assert.ok(performance.now() < limit, "the workload does not become healthy");
    health = await asService("vm", (client) => client.health({ wait: durationFromMs(10_000) }));
  }
  const { spans } = await asService("vm", (client) => client.health({ traceId }));
  const inject = spans.find((span) => span.name === "AgentService/InjectSecrets");
  assert.deepEqual(spans.map((span) => span.name).sort(), [
    "AgentService/InjectSecrets",
    "guest.boot",
    "workload.start",
  ]);
  assert.equal(spans.find((span) => span.name === "workload.start")?.parentSpanId, inject?.spanId);
  assert.equal(inject?.parentSpanId, "00f067aa0ba902b7");
  assert.ok(spans.every((span) => span.traceId === traceId && !span.failed));
  assert.deepEqual((await asService("vm", (client) => client.health({ traceId }))).spans, []);
});

async function whoami(authorization: string) {
  const answer = await callFront(guest, { path: "/whoami", leaf: leaf("caddy"), headers: { authorization } });
  return { status: answer.status, body: JSON.parse(answer.body) as Record<string, unknown> };
}

test("the gateway tells who it is to whoever has its token", async () => {
  const answer = await whoami(`Bearer ${token.toString()}`);
  const digest = createHash("sha256").update(apiKey).digest("hex");
  const { tenant, vmId, generation } = guest.identity;
  assert.deepEqual(answer, { status: 200, body: { tenant, vmId, generation, secrets: { "api-key": digest } } });
  assert.equal((await whoami("Bearer wrong")).status, 401);
});

test("a later injection replaces the whole set while the workload runs", async () => {
  const secrets = [
    { name: "gateway-token", version: 1, value: { value: token } },
    { name: "other", version: 1, value: { value: Buffer.from("x") } },
  ];
  await asService("secrets", (client) => client.injectSecrets({ secrets }));
  const { body } = await whoami(`Bearer ${token.toString()}`);
  assert.deepEqual(Object.keys(body.secrets as object), ["other"]);
});

test("secrets reach environment and configuration, and a new version of them a running workload", async () => {
  const inject = (value: string) =>
    asService("secrets", (client) =>
      client.injectSecrets({
        secrets: [
          { name: "gateway-token", version: 1, value: { value: token } },
          { name: "in-file", version: 1, value: { value: Buffer.from(value) } },
          {
            ...{ name: "in-environment", version: 1, value: { value: Buffer.from(value) } },
            target: { case: "environmentVariable", value: "API_KEY" },
          },
          {
            ...{ name: "in-field", version: 1, value: { value: Buffer.from(value) } },
            target: { case: "configurationPointer", value: "/models/key" },
          },
        ],
      }),
    );
  for (const value of ["the first", "the second"]) {
    await inject(value);
    const digest = createHash("sha256").update(value).digest("hex");
    const { environment, ...rest } = await places((found) => found.environment["API_KEY"] === digest);
    assert.equal(environment["API_KEY"], digest);
    assert.deepEqual(rest, { files: { "in-file": digest }, fields: { "/models/key": digest } });
  }
  const command = "stat --format=%a:%U /run/workload/configuration.json; cat /run/workload/configuration.json | wc -c";
  assert.match((await run("sh", "-c", command)).stdout, /^400:\w+\n/);
});

interface Places {
  readonly files: Record<string, string>;
  readonly fields: Record<string, string>;
  readonly environment: Record<string, string>;
}

/** What the gateway says of its secrets, once it is as wanted: while it is restarted its port does not answer. */
async function places(isWanted: (found: Places) => boolean): Promise<Places> {
  const headers = { authorization: `Bearer ${token.toString()}` };
  for (const limit = performance.now() + bootLimitMs; performance.now() < limit; await delay(50)) {
    const answer = await callFront(guest, { path: "/places", leaf: leaf("caddy"), headers });
    if (answer.status !== 200) continue;
    const found = JSON.parse(answer.body) as Places;
    if (isWanted(found)) return found;
  }
  throw new Error("the gateway does not have what was injected");
}

test("the gateway's port is for Caddy under the guest's own names", async () => {
  const caddy = leaf("caddy");
  const status = async (call: Partial<Parameters<typeof callFront>[1]>) =>
    (await callFront(guest, { path: "/", leaf: caddy, ...call })).status;
  assert.equal(await status({}), 200);
  assert.equal(await status({ host: "bare.example.test:8443" }), 200);
  assert.equal(await status({ host: "other.example.test" }), 421);
  assert.equal(await status({ serverName: "other.guest.internal" }), 421);
  assert.equal(await status({ leaf: leaf("vm") }), 403);
  const alert = async (caller: Parameters<typeof connectGuest>[2]) => (await rejection(frontPort, caller)).alert;
  assert.equal(await alert({}), "TLSV13_ALERT_CERTIFICATE_REQUIRED");
  assert.equal(await alert({ leaf: leaf("guest") }), "dropped");
  assert.equal(await alert({ leaf: caddy, maxVersion: "TLSv1.2" }), "TLSV1_ALERT_PROTOCOL_VERSION");
});

test("WebSockets pass through the front", async () => {
  const socket = new WebSocket("ws://bare.guest.internal/echo", {
    createConnection: () => connectGuest(guest, frontPort, { leaf: leaf("caddy") }),
  });
  await once(socket, "open");
  socket.send("are you there");
  const [data] = (await once(socket, "message")) as [Buffer];
  assert.equal(data.toString(), "are you there");
  socket.close();
  await once(socket, "close");
});

async function run(...command: string[]): Promise<RunResult> {
  return await runAs("workload", ...command);
}

async function runAs(user: NonNullable<Run["user"]>, ...command: string[]): Promise<RunResult> {
  const body = JSON.stringify({ command, timeoutMs: 60_000, user } satisfies Run);
  const headers = { "content-type": "application/json", "content-length": String(Buffer.byteLength(body)) };
  const answer = await callFront(guest, { path: "/run", method: "POST", headers, body, leaf: leaf("caddy") });
  assert.equal(answer.status, 200, answer.body);
  return JSON.parse(answer.body) as RunResult;
}

test("a command runs as an ordinary user without groups", async () => {
  const { stdout } = await run("id");
  assert.match(stdout, /^uid=1000\(workload\) gid=1000\(workload\) groups=1000\(workload\)\n$/);
});

test("the workload finds names through the DNS server that the identity names", async (t) => {
  assert.equal(
    (await run("cat", "/etc/resolv.conf")).stdout,
    `nameserver ${gatewayAddress}\noptions timeout:2 attempts:2\n`,
  );
  assert.match((await run("stat", "--format=%A %U", "/etc/resolv.conf")).stdout, /^-rw-r--r-- root\n$/);
  const script = new URL("./name-server.fixture.ts", import.meta.url).pathname;
  const argv = ["netns", "exec", guest.network.name, process.execPath, script, gatewayAddress, "93.184.216.34"];
  const server = spawn("ip", argv, { stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => server.kill("SIGKILL"));
  await once(server.stdout, "data");
  const lookup = 'require("node:dns").lookup("name.example", (error, address) => console.log(error?.code ?? address))';
  assert.deepEqual(await run("node", "-e", lookup), { exitCode: 0, stdout: "93.184.216.34\n", stderr: "" });
});

test("an ordinary user reads neither the identity nor the agent nor a disk nor the kernel's log", async () => {
  const paths = [
    "/run/lobsterd-agent/identity.json",
    "/opt/agent/agent.js",
    "/etc/shadow",
    "/dev/vda",
    "/dev/vdb",
    "/dev/dm-0",
    "/dev/mapper/control",
    "/dev/kmsg",
    "/dev/mem",
  ];
  for (const path of paths) {
    const { exitCode, stderr } = await run("head", "-c", "1", path);
    assert.equal(exitCode, 1, path);
    assert.match(stderr, /Permission denied|Operation not permitted|No such file/, path);
  }
  const { stdout } = await run("ls", "/dev", "/sys/block");
  assert.ok(!stdout.includes("vdc"), "the identity drive is still there");
});

test("an ordinary user sees no process of root", async () => {
  const { stdout } = await run("sh", "-c", "ls -d /proc/[0-9]*; cat /proc/1/cmdline");
  assert.ok(!/^\/proc\/1$/m.test(stdout), stdout);
  assert.ok(!stdout.includes("agent.js"));
});

test("no credential is in what an ordinary user can read of kernel and processes", async () => {
  const canary = guest.privateKeyPem.split("\n")[1]?.slice(0, 40) ?? "";
  assert.equal(canary.length, 40);
  const places =
    "/proc/cmdline /proc/self/mountinfo /proc/*/environ /proc/*/cmdline /proc/*/maps /run/workload/* /run/secrets/*";
  const { stdout } = await run("sh", "-c", `cat ${places} 2>/dev/null`);
  assert.ok(stdout.includes("tsc_early_khz"), "the search reads the kernel arguments");
  assert.ok(stdout.includes("NODE_ENV"), "the search reads an environment");
  assert.ok(!stdout.includes(canary) && !stdout.includes("PRIVATE KEY"));
});

test("the guest is hardened as its init promises", async () => {
  const { stdout: mounts } = await run("cat", "/proc/mounts");
  for (const target of ["/", "/run", "/tmp", "/dev", "/proc", "/sys"]) {
    const flags = mounts
      .split("\n")
      .find((line) => line.split(" ")[1] === target)
      ?.split(" ")[3]
      ?.split(",");
    assert.ok(flags?.includes("nosuid"), `${target}: ${flags?.join()}`);
    if (target !== "/dev") assert.ok(flags?.includes("nodev"), `${target}: ${flags?.join()}`);
  }
  const values = {
    "kernel/dmesg_restrict": "1",
    "kernel/yama/ptrace_scope": "2",
    "kernel/modules_disabled": "1",
    "user/max_user_namespaces": "0",
    "net/ipv6/conf/all/disable_ipv6": "1",
  };
  for (const [name, value] of Object.entries(values)) {
    assert.equal((await run("cat", `/proc/sys/${name}`)).stdout.trim(), value, name);
  }
  assert.equal((await run("cat", "/proc/net/if_inet6")).stdout, "");
  assert.equal((await run("touch", "/opt/workload/workload.js")).exitCode, 1);
  assert.equal((await runAs("root", "sh", "-c", "echo kept >$HOME/file && cat $HOME/file")).stdout, "kept\n");
});

test("no connection is resumed from an earlier one", async () => {
  const tickets: Buffer[] = [];
  const first = connectGuest(guest, frontPort, { leaf: leaf("caddy") });
  first.on("session", (session: Buffer) => tickets.push(session));
  first.write("GET /health HTTP/1.1\r\nHost: bare.guest.internal\r\nConnection: close\r\n\r\n");
  first.resume();
  await once(first, "close");
  for (const session of tickets) {
    const again = connectGuest(guest, frontPort, { leaf: leaf("caddy"), session });
    await once(again, "secureConnect");
    assert.equal(again.isSessionReused(), false);
    again.destroy();
  }
});

test("Shutdown ends the machine", { timeout: 60_000 }, async () => {
  const ended = once(guest.process, "exit");
  await asService("vm", (client) => client.shutdown({}));
  await ended;
});

test("a guest without an identity serves nothing and ends", { timeout: bootLimitMs }, async (t) => {
  const nobody = await startBareGuest({ image: `${out}/probe`, identityDrive: Buffer.alloc(64 * 1024) });
  t.after(() => nobody.stop());
  let answered = false;
  const asking = new AbortController();
  void (async () => {
    while (!asking.signal.aborted) {
      const socket = connectGuest(nobody, agentPort, { leaf: leaf("vm") });
      socket.on("secureConnect", () => {
        answered = true;
      });
      socket.on("error", () => undefined); // nothing listens: that is the point
      await new Promise((resolve) => socket.once("close", resolve));
      await delay(50);
    }
  })();
  await once(nobody.process, "exit");
  asking.abort();
  assert.equal(answered, false);
});
