import { existsSync, readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { connect as connectTls } from "node:tls";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { Health, HealthCheckResponse_ServingStatus } from "@lobsterd/proto/grpc/health/v1/health_pb.ts";
import { certificatePaths } from "./identities.ts";
import { type Instance, innerPorts, type ServiceName, serviceNames } from "./instance.ts";
import { askLauncher } from "./launcher-client.ts";
import { identifyProcess } from "./proc.ts";
import type { ProcessName } from "./processes.ts";

const probeLimitMs = 3000;
const probeIntervalMs = 150;

/** Throws, saying why, unless the process does its work. */
type Probe = () => Promise<void>;

/** One probe for each process, each of them the way a caller would see it. */
export function probesOf(
  instance: Instance,
  pidOf: (name: ProcessName) => number | undefined,
): Map<ProcessName, Probe> {
  const probes = new Map<ProcessName, Probe>([
    ["trace-receiver", async () => requireListener(pidOf("trace-receiver"), innerPorts.traces)],
    ["nats", async () => requireListener(pidOf("nats"), innerPorts.nats)],
    ["vm-launcher", async () => void (await askLauncher(instance, "describe", {}, probeLimitMs))],
    ["caddy", () => requireFront(instance)],
  ]);
  for (const name of serviceNames) probes.set(name, () => requireServing(instance, name));
  return probes;
}

/**
 * Waits until every probe passes; `progress` hears of each that does. Throws after `limitMs` with what each of the others
 * said last, as a map from process to reason in `unhealthy`.
 */
export async function waitForHealth(
  probes: ReadonlyMap<ProcessName, Probe>,
  options: { readonly limitMs: number; readonly progress: (line: string) => void; readonly signal?: AbortSignal },
): Promise<void> {
  const startedMs = performance.now();
  const unhealthy = new Map<ProcessName, string>();
  const wait = async (name: ProcessName, probe: Probe): Promise<void> => {
    for (;;) {
      try {
        await probe();
        unhealthy.delete(name);
        options.progress(`${name} is healthy (${((performance.now() - startedMs) / 1000).toFixed(1)} s)`);
        return;
      } catch (error) {
        unhealthy.set(name, error instanceof Error ? error.message : String(error));
      }
      options.signal?.throwIfAborted();
      if (performance.now() - startedMs > options.limitMs) return;
      await delay(probeIntervalMs);
    }
  };
  await Promise.all([...probes].map(([name, probe]) => wait(name, probe)));
  if (unhealthy.size > 0) throw new UnhealthyError(unhealthy, options.limitMs);
}

/** Processes that did not become healthy, with what their probes said last. */
export class UnhealthyError extends Error {
  override readonly name = "UnhealthyError";
  readonly unhealthy: ReadonlyMap<ProcessName, string>;

  constructor(unhealthy: ReadonlyMap<ProcessName, string>, limitMs: number) {
    const reasons = [...unhealthy].map(([name, reason]) => `  ${name}: ${reason}`);
    super(`not healthy within ${limitMs / 1000} s:\n${reasons.join("\n")}`);
    this.unhealthy = unhealthy;
  }
}

async function requireServing(instance: Instance, name: ServiceName): Promise<void> {
  const paths = certificatePaths(instance);
  const operator = paths.client("operator");
  const transport = createGrpcTransport({
    baseUrl: `https://localhost:${instance.ports[name]}`,
    nodeOptions: {
      ca: readFileSync(paths.platformCaPath),
      cert: readFileSync(operator.certificatePath),
      key: readFileSync(operator.keyPath),
      minVersion: "TLSv1.3",
      lookup: (_host, options, answer) =>
        typeof options === "object" && options.all === true
          ? answer(null, [{ address: "127.0.0.1", family: 4 }])
          : answer(null, "127.0.0.1", 4),
    },
    // A connection of its own for each probe: one kept from before a restart would say nothing about now.
    idleConnectionTimeoutMs: 1,
  });
  const { status } = await createClient(Health, transport).check({ service: "" }, { timeoutMs: probeLimitMs });
  if (status !== HealthCheckResponse_ServingStatus.SERVING) throw new Error(`health is ${status}, not SERVING`);
}

/** The front serves HTTPS with a certificate that clients trust once `proxy` has loaded Caddy's configuration. */
function requireFront(instance: Instance): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({
      host: "127.0.0.1",
      port: instance.ports.https,
      servername: `health.${instance.domain}`,
      ca: readFileSync(certificatePaths(instance).platformCaPath),
      timeout: probeLimitMs,
    });
    socket.once("timeout", () => socket.destroy(new Error("no TLS handshake in time")));
    socket.once("error", (error) => reject(new Error(`HTTPS front: ${error.message}`)));
    socket.once("close", () => reject(new Error("HTTPS front: connection closed")));
    socket.once("secureConnect", () => {
      resolve();
      socket.destroy();
    });
  });
}

/** Reads the listening sockets of the process's own network namespace, which this one cannot connect to. */
function requireListener(pid: number | undefined, port: number): void {
  if (pid === undefined || identifyProcess(pid) === undefined) throw new Error("not running");
  const tables = ["tcp", "tcp6"].map((name) => `/proc/${pid}/net/${name}`).filter((path) => existsSync(path));
  const listens = tables.some((path) => listeningPorts(readFileSync(path, "utf8")).includes(port));
  if (!listens) throw new Error(`nothing listens on port ${port} of its namespace`);
}

/** Ports in state LISTEN (0A) of a /proc/net/tcp table. */
export function listeningPorts(table: string): number[] {
  return table
    .split("\n")
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[3] === "0A")
    .map((fields) => Number.parseInt(fields[1]?.split(":")[1] ?? "", 16));
}
