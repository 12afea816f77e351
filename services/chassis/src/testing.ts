import { createHash } from "node:crypto";
import type { DescService } from "@bufbuild/protobuf";
import { type Client, createClient, createContextValues, type Transport } from "@connectrpc/connect";
import { createUniversalHandlerClient, type UniversalHandler } from "@connectrpc/connect/protocol";
import { createTransport } from "@connectrpc/connect/protocol-connect";
import type { AccessRule } from "./access.ts";
import type { AuditEntry, AuditPolicy, AuditSink } from "./audit.ts";
import type { Peer, Role } from "./caller.ts";
import type { IssuedClient } from "./client-list.ts";
import { peerKey } from "./gate.ts";
import { createHandlers } from "./handlers.ts";
import { createLogger, type Logger } from "./logger.ts";
import type { Ownership } from "./owners.ts";
import type { Routes } from "./routes.ts";

const trustDomain = "test";
const dayMs = 86_400_000;

/**
 * Who calls in a test: a service, a client with a role, a verified URI without one, or nobody. `issued:owner:svc/vm` has a certificate of the
 * clients' authority that says so, and the list says that it is an owner's.
 */
export type TestCaller =
  | `issued:${IssuedClient["role"]}:${string}`
  | `service:${string}`
  | `role:${Role}`
  | `owner:${string}`
  | "stranger"
  | "nobody";

export interface TestHarness {
  /** A client that calls as `caller`; nothing but the network is left out: gate, interceptors, deadlines and wire form are real. */
  as<S extends DescService>(caller: TestCaller, service: S): Client<S>;
  /** What was logged, parsed. */
  readonly logs: ReadonlyArray<Readonly<Record<string, unknown>>>;
}

/** An in-memory server. Callers of the trust domain `test`: `spiffe://test/svc/<name>` and `spiffe://test/client/<role>`; `owner:<name>` is a client of that name. */
export function testHarness(options: {
  readonly routes: readonly Routes[];
  readonly access: readonly AccessRule[];
  /** Name of the service under test, for the domain of errors. */
  readonly service?: string;
  readonly audit?: AuditPolicy;
  /** By default nobody owns anything. */
  readonly ownership?: Ownership;
  readonly methodDeadlinesMs?: Readonly<Record<string, number>>;
  readonly defaultDeadlineMs?: number;
  readonly maxDeadlineMs?: number;
}): TestHarness {
  const { logger, logs } = captureLogs();
  const roles = new Map<string, Role>(
    (["operator", "viewer", "owner"] as const).map((role) => [`spiffe://${trustDomain}/client/${role}`, role]),
  );
  const issued = new Map<string, IssuedClient>();
  const { handlers } = createHandlers({
    domain: `${options.service ?? "test"}.lobsterd`,
    trustDomain,
    routes: options.routes,
    access: options.access,
    roles: () => roles,
    revocations: () => new Set(),
    clients: () => issued,
    logger,
    deadlines: {
      defaultMs: options.defaultDeadlineMs ?? 30_000,
      maxMs: options.maxDeadlineMs ?? 300_000,
      methodsMs: options.methodDeadlinesMs ?? {},
    },
    audit: options.audit,
    ownership: options.ownership ?? nobodyOwns,
  });
  return {
    as(caller, service) {
      const peer = peerFor(caller);
      if (caller.startsWith("owner:") && peer.verified) roles.set(peer.uri, "owner");
      if (caller.startsWith("issued:") && peer.verified) {
        const role = caller.startsWith("issued:owner:") ? "owner" : "viewer";
        const expireTime = new Date(peer.notAfterMs).toISOString();
        issued.set(peer.serialNumber, { uri: peer.uri, role, expireTime });
      }
      return createClient(service, inMemoryTransport(handlers, peer));
    },
    logs,
  };
}

const nobodyOwns: Ownership = { owns: () => false, unknown: (tenant) => new Error(`there is no tenant ${tenant}`) };

/** A sink that keeps what it is given; `fail` makes it reject, `hang` makes it never answer. */
export function fakeAuditSink(): AuditSink & { readonly entries: AuditEntry[]; mode: "accept" | "fail" | "hang" } {
  const entries: AuditEntry[] = [];
  return {
    entries,
    mode: "accept",
    async append(entry) {
      if (this.mode === "hang") await new Promise(() => undefined);
      if (this.mode === "fail") throw new Error("audit is away");
      if (!entries.some(({ eventId }) => eventId === entry.eventId)) entries.push(entry);
    },
  };
}

/** A clock that only a test moves. */
export function manualClock(startMs = 1_700_000_000_000): { now(): number; advance(ms: number): void } {
  let nowMs = startMs;
  return {
    now: () => nowMs,
    advance(ms) {
      nowMs += ms;
    },
  };
}

/** A logger whose lines a test can read. */
export function captureLogs(service = "test"): { logger: Logger; logs: Array<Record<string, unknown>> } {
  const logs: Array<Record<string, unknown>> = [];
  const logger = createLogger(
    { service, level: "debug" },
    { write: (line: string) => void logs.push(JSON.parse(line) as Record<string, unknown>) },
  );
  return { logger, logs };
}

function peerFor(caller: TestCaller): Peer {
  if (caller === "nobody") return { verified: false, reason: "CERTIFICATE_REQUIRED", detail: "test" };
  const [kind, name = "", last = ""] = caller.split(":", 3);
  const isIssued = kind === "issued";
  const path = isIssued ? last : kind === "service" ? `svc/${name}` : `client/${name || "stranger"}`;
  return {
    ...{ verified: true, authority: isIssued ? "clients" : "platform", uri: `spiffe://${trustDomain}/${path}` },
    ...{ serialNumber: isIssued ? serialOf(caller) : "1", notAfterMs: Date.now() + dayMs },
  };
}

const serialOf = (caller: TestCaller) => createHash("sha1").update(caller).digest("hex").toUpperCase();

function inMemoryTransport(handlers: readonly UniversalHandler[], peer: Peer): Transport {
  const identified = handlers.map((handler) =>
    Object.assign(
      (request: Parameters<UniversalHandler>[0]) =>
        handler({ ...request, contextValues: createContextValues().set(peerKey, peer) }),
      handler,
    ),
  );
  // Connect rather than gRPC: the in-memory HTTP client copies trailers before a stream has ended, and Connect needs none.
  return createTransport({
    httpClient: createUniversalHandlerClient(identified),
    baseUrl: "https://in-memory",
    useBinaryFormat: true,
    interceptors: [],
    acceptCompression: [],
    sendCompression: null,
    compressMinBytes: Number.MAX_SAFE_INTEGER,
    readMaxBytes: 1024 * 1024,
    writeMaxBytes: 1024 * 1024,
  });
}
