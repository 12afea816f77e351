import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { Client } from "@connectrpc/connect";
import { AuditService } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { allow, type Principal } from "./access.ts";
import { createServiceClient } from "./client.ts";
import { type CommonConfig, commonConfigSchema, parseConfig } from "./config.ts";
import { defineRoutes, type Handlers, unimplemented } from "./routes.ts";
import { type RunningServer, startServer } from "./server.ts";
import { captureLogs } from "./testing.ts";
import { type TestAuthority, type TestLeaf, testCertificates } from "./testing-certificates.ts";

/** A directory with an authority and the leaves that the host tests of the chassis use. Made once per test file. */
export interface Ground {
  readonly directory: string;
  readonly ca: TestAuthority;
  readonly server: TestLeaf;
  readonly vm: TestLeaf;
  readonly operator: TestLeaf;
  remove(): void;
}

export function makeGround(): Ground {
  const directory = mkdtempSync(join(tmpdir(), "lobsterd-chassis-"));
  const ca = testCertificates(directory);
  writeFileSync(join(directory, "roles.json"), JSON.stringify({ "spiffe://test/client/op": "operator" }));
  writeFileSync(join(directory, "revocations.json"), "{}");
  return {
    directory,
    ca,
    server: ca.issue("server", ["spiffe://test/svc/audit"]),
    vm: ca.issue("vm", ["spiffe://test/svc/vm"]),
    operator: ca.issue("op", ["spiffe://test/client/op"]),
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}

export function configFor(ground: Ground, name: string, extra: Readonly<Record<string, unknown>> = {}): CommonConfig {
  return parseConfig(
    commonConfigSchema,
    JSON.stringify({
      service: "audit",
      hostId: "host-1",
      trustDomain: "test",
      listen: { unixPath: join(ground.directory, name, "rpc.sock"), tcp: { host: "127.0.0.1", port: 0 } },
      tls: { ...ground.server, platformCaPath: ground.ca.caPath },
      stateDir: ground.directory,
      rolesPath: join(ground.directory, "roles.json"),
      revocationsPath: join(ground.directory, "revocations.json"),
      ...extra,
    }),
  );
}

const everyone: readonly Principal[] = ["service:vm", "role:operator"];

/** Who may call the served methods; proofs are for nobody. */
export const accessTable = allow(AuditService, {
  appendRecord: ["service:vm"],
  queryRecords: everyone,
  getLatestOwnRecord: [],
  tailRecords: everyone,
  getCheckpoint: everyone,
  getInclusionProof: everyone,
  getConsistencyProof: [],
  exportRecords: [],
});

export const idleHandlers: Handlers<typeof AuditService> = {
  appendRecord: unimplemented,
  queryRecords: () => ({ records: [] }),
  getLatestOwnRecord: unimplemented,
  tailRecords: unimplemented,
  getCheckpoint: () => ({ signedNote: "note" }),
  getInclusionProof: unimplemented,
  getConsistencyProof: unimplemented,
  exportRecords: unimplemented,
};

export interface ServedAudit {
  readonly server: RunningServer;
  readonly tcpPort: number;
  readonly logs: ReadonlyArray<Readonly<Record<string, unknown>>>;
  /** A client over the Unix socket with the certificate of the vm service. */
  readonly client: Client<typeof AuditService>;
}

/** Serves AuditService on a Unix socket and a TCP port until the test ends. */
export async function serve(
  t: TestContext,
  ground: Ground,
  handlers: Partial<Handlers<typeof AuditService>> = {},
  config: CommonConfig = configFor(ground, t.name.replaceAll(/\W+/g, "-").slice(0, 24)),
  methodDeadlinesMs: Readonly<Record<string, number>> = {},
): Promise<ServedAudit> {
  const { logger, logs } = captureLogs();
  const server = await startServer({
    config,
    logger,
    routes: [defineRoutes(AuditService, { ...idleHandlers, ...handlers })],
    access: [accessTable],
    methodDeadlinesMs,
  });
  t.after(() => server.close());
  return { server, tcpPort: server.tcpPort ?? 0, logs, client: clientFor(ground, config.listen.unixPath) };
}

/** A client of the server at `unixPath` with the certificate of the vm service. */
export function clientFor(
  ground: Ground,
  unixPath: string,
  options: { retry?: boolean } = {},
): Client<typeof AuditService> {
  const tls = { ...ground.vm, platformCaPath: ground.ca.caPath, trustDomain: "test" };
  return createServiceClient(AuditService, { service: "audit", unixPath }, tls, options);
}
