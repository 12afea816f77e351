/** SVC-01, REL-11: every certificate of a running stack is made anew under load, 20 times, and no call fails. */
import assert from "node:assert/strict";
import { randomUUID, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { connect as secure } from "node:tls";
import { TenantLogSource } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { connectStack, type StackClients } from "../client/clients.ts";
import { certificatePaths } from "../dev/identities.ts";
import { describeInstance, serviceNames } from "../dev/instance.ts";
import { logPath } from "../dev/processes.ts";
import { rotate } from "../dev/rotate.ts";
import { ask, env, eventually, evict, instance, spawn } from "./subject.ts";

const name = "rotated";
const rotations = 20;
const described = describeInstance(instance);
const paths = certificatePaths(described);
/** Root's files and not the copies of `.run`, which no rotation reaches: callers are to have new certificates too. */
const operator = paths.client("operator");
const callerEnv = { ...env, LOBSTERD_CERT: operator.certificatePath, LOBSTERD_KEY: operator.keyPath };
const secret = { tenant: name, name: "rotated" };

before(async () => void (await spawn(name)));
after(() => evict(name));

const serialOf = (directory: string) =>
  new X509Certificate(readFileSync(paths.leaf(directory).certificatePath)).serialNumber;

/** Serial number of the certificate that a port of the stack shows. */
async function shownAt(port: number, servername: string): Promise<string | undefined> {
  const socket = secure({ host: "127.0.0.1", port, servername, rejectUnauthorized: false });
  try {
    await new Promise((resolve, reject) => socket.once("secureConnect", resolve).once("error", reject));
    return socket.getPeerX509Certificate()?.serialNumber;
  } finally {
    socket.destroy();
  }
}

/** Calls that together use every certificate: of callers, of each service as server and as client, of Caddy at both its ends. */
function callsOf(stack: StackClients): Readonly<Record<string, () => Promise<unknown>>> {
  return {
    // vm asks the guest's agent with its own certificate.
    vm: async () => {
      for await (const _ of stack.tenants.streamTenantLogs({ name, source: TenantLogSource.AGENT, tailLines: 1 }));
    },
    net: () => stack.net.listNetworks({}),
    proxy: () => stack.routes.listRoutes({}),
    // secrets appends a record to audit with its own certificate, and publishes an event.
    secrets: () =>
      stack.secrets.putSecret({ requestId: randomUUID(), ...secret, value: { value: Buffer.from("value") } }),
    audit: () => stack.audit.getCheckpoint({}),
    // A connection on which nothing was answered yet may be closed, and a request on it repeated, as browsers do.
    front: async () => assert.equal((await ask(name).catch(() => ask(name))).status, 200),
  };
}

/** What services say of events that got lost, and how often they went back to the broker, since `fromMs`. */
function eventsSince(fromMs: number): { lost: string[]; connections: number } {
  const lines = serviceNames.flatMap((service) =>
    readFileSync(logPath(described, service), "utf8")
      .split("\n")
      .filter((line) => line.startsWith("{"))
      .map((line): { time: string; message: string } => JSON.parse(line))
      .filter(({ time }) => Date.parse(time) >= fromMs)
      .map(({ message }) => `${service}: ${message}`),
  );
  const lost = /event (queue is full|cannot be published|broker refused something|handler failed)/;
  return {
    lost: lines.filter((line) => lost.test(line)),
    connections: lines.filter((line) => line.endsWith("event broker connected")).length,
  };
}

/** The last that a process said of its troubles: logs go with the stack. */
const faultsOf = (process: "caddy" | "vm") =>
  readFileSync(logPath(described, process), "utf8")
    .split("\n")
    .filter((line) => /"level":"(warn|error)"/.test(line))
    .slice(-12)
    .map((line) => `${process}: ${line.slice(0, 1500)}`);

test(`${rotations} rotations of every certificate fail no call`, { timeout: 800_000 }, async (t) => {
  const startMs = Date.now();
  const stack = connectStack(callerEnv);
  const ending = new AbortController();
  const failures: string[] = [];
  const counts: Record<string, number> = {};
  let round = 0;
  const note = (what: string) => (error: unknown) =>
    void failures.push(`round ${round}, ${new Date().toISOString()}, ${what}: ${String(error)}`);
  // An emulated guest takes half a second for a handshake: what reaches it comes one at a time, or it would be late without any rotation. A new caller's
  // connection stays open when it is done, and the development stack forwards 1,024 at a time.
  const pausesMs: Readonly<Record<string, number>> = { vm: 500, front: 500, "new caller": 200 };
  const repeat = async (what: string, call: () => Promise<unknown>): Promise<void> => {
    while (!ending.signal.aborted) {
      await call().then(() => {
        counts[what] = (counts[what] ?? 0) + 1;
      }, note(what));
      await delay(pausesMs[what] ?? 50);
    }
  };
  const watching = (async () => {
    for await (const _ of stack.tenants.watchTenants({}, { signal: ending.signal })) counts["watch"] = 1;
  })().catch((error: unknown) => {
    if (!ending.signal.aborted) note("watch")(error);
  });
  const load = Object.entries(callsOf(stack)).map(([what, call]) => repeat(what, call));
  // A caller that comes anew each time, as a command does.
  const anew = () => callsOf(connectStack(callerEnv))["net"]?.() ?? Promise.reject(new Error("no call"));
  load.push(repeat("new caller", anew));

  try {
    for (round = 1; round <= rotations; round += 1) {
      const made = await rotate(described);
      assert.ok(made.includes("web") && made.includes("nats") && made.includes("clients/operator"), made.join());
      await eventually("every new certificate", 30_000, async () => {
        const shown = await Promise.all([
          ...serviceNames.map((service) => shownAt(described.ports[service], "localhost")),
          shownAt(described.ports.https, `${name}.${env.LOBSTERD_DOMAIN}`),
        ]);
        assert.deepEqual(shown, [...serviceNames.map(serialOf), serialOf("web")]);
        return true;
      });
    }
  } finally {
    ending.abort();
    await Promise.all([...load, watching]);
    const { lost, connections } = eventsSince(startMs);
    const events = `${connections} connections to the broker, ${lost.length} faults of events`;
    t.diagnostic(`${rotations} rotations; calls: ${JSON.stringify(counts)}; failed: ${failures.length}; ${events}`);
    for (const line of [...failures, ...lost].slice(0, 20)) t.diagnostic(line);
    if (failures.length > 0) for (const line of [...faultsOf("caddy"), ...faultsOf("vm")]) t.diagnostic(line);
    failures.push(...lost);
  }
  assert.deepEqual(failures, []);
  for (const what of [...Object.keys(callsOf(stack)), "new caller", "watch"]) assert.ok((counts[what] ?? 0) > 0, what);
  // Each service that publishes went back to the broker with its new certificate.
  assert.ok(eventsSince(startMs).connections >= rotations);
});
