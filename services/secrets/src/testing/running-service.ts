import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DescService } from "@bufbuild/protobuf";
import type { Client } from "@connectrpc/connect";
import { createServiceClient } from "@lobsterd/chassis/client.ts";
import { parseConfig } from "@lobsterd/chassis/config.ts";
import type { OutgoingEvent } from "@lobsterd/chassis/events.ts";
import { createLogger } from "@lobsterd/chassis/logger.ts";
import { fakeAuditSink } from "@lobsterd/chassis/testing.ts";
import { type TestAuthority, type TestLeaf, testCertificates } from "@lobsterd/chassis/testing-certificates.ts";
import { freePort } from "@lobsterd/chassis/testing-free-port.ts";
import { ClientService } from "@lobsterd/proto/lobsterd/secrets/v1/client_pb.ts";
import { SecretService } from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import { type Config, checkedConfigSchema } from "../config.ts";
import { makeRootKey } from "../root-key/make-root-key.ts";
import { startSecrets } from "../service.ts";

/** The trust domain of the tests. */
export const trustDomain = "dev.test";

/** Who calls: a client with that role, a service, or a client without a role. */
export type CallerName = "operator" | "viewer" | "vm" | "net" | "stranger";

/** A whole `secrets` service in this process, behind its real socket, with everything it says captured. */
export interface RunningService {
  readonly directory: string;
  readonly config: Config;
  readonly rootKeyPath: string;
  readonly platform: TestAuthority;
  readonly audit: ReturnType<typeof fakeAuditSink>;
  readonly events: readonly OutgoingEvent[];
  /** Every line of the log at trace level, as printed. */
  readonly logLines: readonly string[];
  /** Moves the service's clock, which otherwise follows the real one. */
  advance(ms: number): void;
  as(caller: CallerName): Client<typeof SecretService>;
  /** The RPCs for clients' certificates. */
  clientsAs(caller: CallerName): Client<typeof ClientService>;
  /** Calls with a certificate that the service issued. */
  asIssued(leaf: TestLeaf): Client<typeof SecretService>;
  restart(): Promise<void>;
  /** Stops the service and leaves its directory. */
  stop(): Promise<void>;
  close(): Promise<void>;
}

/** Starts the service in a fresh directory. `change` overrides configuration keys. */
export async function runningService(change: Record<string, unknown> = {}): Promise<RunningService> {
  const directory = mkdtempSync(join(tmpdir(), "secrets-"));
  const platform = testCertificates(join(directory, "platform"));
  testCertificates(join(directory, "guests"), "guest-ca");
  const clientsCa = testCertificates(join(directory, "clients"), "clients-ca", 400);
  const rootKeyPath = join(directory, "root.key");
  const shardsDir = join(directory, "tenants");
  makeRootKey(rootKeyPath);
  mkdirSync(shardsDir, { mode: 0o700 });
  mkdirSync(join(directory, "run"));
  writeFileSync(
    join(directory, "roles.json"),
    JSON.stringify({
      [clientUri("operator")]: "operator",
      [clientUri("viewer")]: "viewer",
      [clientUri("former")]: "revoked",
    }),
  );
  writeFileSync(join(directory, "revocations.json"), "{}");
  const own = platform.issue("secrets", [`spiffe://${trustDomain}/svc/secrets`]);
  const config = parseConfig(
    checkedConfigSchema,
    JSON.stringify({
      service: "secrets",
      hostId: "host-1",
      trustDomain,
      logLevel: "trace",
      listen: { unixPath: join(directory, "run", "rpc.sock") },
      tls: { ...own, platformCaPath: platform.caPath },
      stateDir: join(directory, "state"),
      rolesPath: join(directory, "roles.json"),
      revocationsPath: join(directory, "revocations.json"),
      rootKey: { kind: "file", path: rootKeyPath, shardsDir },
      guestCaCertificatePath: join(directory, "guests", "guest-ca.pem"),
      guestCaKeyPath: join(directory, "guests", "guest-ca.key.pem"),
      clients: { caPath: clientsCa.caPath, listPath: join(directory, "clients", "certificates.json") },
      clientsCaKeyPath: join(directory, "clients", "clients-ca.key.pem"),
      guestNetwork: "127.0.0.0/8",
      guestAgentPort: await freePort(),
      injectLimitMs: 3000,
      shutdownGraceMs: 500,
      peers: { audit: join(directory, "run", "audit.sock") },
      ...change,
    }),
  );

  const audit = fakeAuditSink();
  const events: OutgoingEvent[] = [];
  const logLines: string[] = [];
  let skewMs = 0;
  let stop = await start();

  async function start(): Promise<() => Promise<void>> {
    const steps: (() => void | Promise<void>)[] = [];
    const logger = createLogger(
      { service: "secrets", level: config.logLevel },
      { write: (line) => void logLines.push(line) },
    );
    const close = async () => {
      for (let step = steps.pop(); step !== undefined; step = steps.pop()) await step();
    };
    try {
      await startSecrets(
        config,
        { onClose: (step) => void steps.push(step), useLogger: () => undefined },
        {
          logger,
          audit,
          bus: {
            publish: (event) => void events.push(event),
            subscribe: async () => ({ close: async () => undefined }),
            close: async () => undefined,
          },
          now: () => Date.now() + skewMs,
        },
      );
    } catch (error) {
      await close();
      throw error;
    }
    return close;
  }

  const leaves = new Map<CallerName, TestLeaf>();
  const leafOf = (caller: CallerName) => {
    const leaf = leaves.get(caller) ?? platform.issue(`caller-${caller}`, [callerUri(caller)]);
    leaves.set(caller, leaf);
    return leaf;
  };
  const connect = <S extends DescService>(service: S, leaf: TestLeaf) =>
    createServiceClient(
      service,
      { service: "secrets", unixPath: config.listen.unixPath },
      { ...leaf, platformCaPath: platform.caPath, trustDomain },
    );
  const clients = new Map<CallerName, Client<typeof SecretService>>();
  return {
    directory,
    config,
    rootKeyPath,
    platform,
    audit,
    events,
    logLines,
    advance(ms) {
      skewMs += ms;
    },
    as(caller) {
      const known = clients.get(caller);
      if (known !== undefined) return known;
      const client = connect(SecretService, leafOf(caller));
      clients.set(caller, client);
      return client;
    },
    clientsAs: (caller) => connect(ClientService, leafOf(caller)),
    asIssued: (leaf) => connect(SecretService, leaf),
    async restart() {
      await stop();
      stop = await start();
    },
    stop: () => stop(),
    async close() {
      await stop();
      rmSync(directory, { recursive: true });
    },
  };
}

function clientUri(name: string): string {
  return `spiffe://${trustDomain}/client/${name}`;
}

function callerUri(caller: CallerName): string {
  return caller === "vm" || caller === "net" ? `spiffe://${trustDomain}/svc/${caller}` : clientUri(caller);
}
