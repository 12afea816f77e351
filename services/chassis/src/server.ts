import { X509Certificate } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { Code, ConnectError } from "@connectrpc/connect";
import { type AccessRule, allowAnyPrincipal } from "./access.ts";
import { nodeListener } from "./adapter.ts";
import type { AuditPolicy } from "./audit.ts";
import { tellAuthorities } from "./authorities.ts";
import { endOf, rememberPeers } from "./caller.ts";
import { chassisMetrics } from "./chassis-metrics.ts";
import { noClients, openClientList } from "./client-list.ts";
import type { CommonConfig } from "./config.ts";
import { unknownMethod } from "./gate.ts";
import { createHandlers } from "./handlers.ts";
import { createHealth } from "./health.ts";
import { every } from "./lifecycle.ts";
import { type Listener, listen } from "./listener.ts";
import type { Logger } from "./logger.ts";
import type { Ownership } from "./owners.ts";
import { createReflection } from "./reflection.ts";
import { openRevocations } from "./revocations.ts";
import { openRoles } from "./roles.ts";
import type { Routes } from "./routes.ts";
import { type CredentialSource, followCredential } from "./tls-credential.ts";

const flushRefusalsMs = 60_000;
const lookAtCertificatesMs = 1000;

export interface ServerOptions {
  readonly config: CommonConfig;
  readonly logger: Logger;
  readonly routes: readonly Routes[];
  /** One per service in `routes`; health and reflection bring their own. */
  readonly access: readonly AccessRule[];
  readonly audit?: AuditPolicy;
  /** What is whose; needed where a row of `access` lets owners in by a tenant's name. */
  readonly ownership?: Ownership;
  /** By proto name (`ExecTenant`): the method's default deadline and its maximum, in place of the configured ones. */
  readonly methodDeadlinesMs?: Readonly<Record<string, number>>;
}

export interface RunningServer {
  readonly unixPath: string;
  readonly tcpPort?: number;
  /** What health answers; a server starts as serving. */
  setServing(serving: boolean): void;
  /** Drains within `shutdownGraceMs`: no new connections, calls are told to end at half of it and cut at the end of it. */
  close(): Promise<void>;
}

/**
 * Starts the RPC server: gRPC, gRPC-Web and Connect over HTTP/2 and HTTP/1.1 on one Unix socket and, if configured, one TCP
 * port, all of it over TLS 1.3. Messages are at most 1 MiB after decompression, headers 16 KiB. Throws if a service has no
 * allow table, a method no row, or the address is taken.
 */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const { config, logger } = options;
  const domain = `${config.service}.lobsterd`;
  const shutdown = new AbortController();
  const health = createHealth(options.routes.map(({ service }) => service.typeName));
  const own = [...options.routes, health.routes];
  const routes = config.reflection ? [...own, ...createReflection(own.map(({ service }) => service))] : own;
  const builtIn = routes.slice(options.routes.length).map(({ service }) => allowAnyPrincipal(service));

  const revocations = openRevocations(config.revocationsPath, logger);
  const clients = config.clients === undefined ? noClients : openClientList(config.clients.listPath, logger);
  const { tls } = config;
  const credential = followCredential({
    ...tls,
    caPath: tls.platformCaPath,
    clientsCaPath: config.clients?.caPath,
  });
  const peerOf = rememberPeers(tellAuthorities(credential));

  const { handlers, gate, refusals } = createHandlers({
    domain,
    trustDomain: config.trustDomain,
    routes,
    access: [...options.access, ...builtIn],
    roles: openRoles(config.rolesPath, logger),
    revocations,
    clients,
    logger,
    deadlines: {
      defaultMs: config.defaultDeadlineMs,
      maxMs: config.maxDeadlineMs,
      methodsMs: options.methodDeadlinesMs ?? {},
    },
    audit: options.audit,
    ownership: options.ownership,
    shutdownSignal: shutdown.signal,
  });
  const handle = nodeListener({
    handlers,
    peerOf,
    unknownPath(peer, path) {
      try {
        gate.identify(peer, path.slice(0, 256));
        return unknownMethod(domain);
      } catch (error) {
        return ConnectError.from(error);
      }
    },
    onError(error, path) {
      // Aborted is a caller that went away; there is nobody left to answer.
      if (ConnectError.from(error).code !== Code.Aborted)
        logger.debug({ err: error, path }, "answer was not delivered");
    },
  });

  const listeners: Listener[] = [];
  try {
    listeners.push(await listen({ unixPath: config.listen.unixPath }, credential(), handle));
    if (config.listen.tcp !== undefined) listeners.push(await listen(config.listen.tcp, credential(), handle));
  } catch (error) {
    for (const listener of listeners) listener.destroy();
    await Promise.all(listeners.map((listener) => listener.close()));
    throw error;
  }
  const closed = new AbortController();
  const flushRefusals = async (): Promise<void> => refusals?.flush();
  const running = { signal: closed.signal, logger };
  every(flushRefusalsMs, "record suppressed refusals", flushRefusals, running);
  const renew = renewal(listeners, credential, logger);
  const lookAtCertificates = async (): Promise<void> => {
    renew();
    const lists = { revoked: revocations(), issued: clients() };
    // The gate judges each call as it begins; a stream, and a connection without a call, end here.
    for (const listener of listeners) listener.cut((socket) => endOf(peerOf(socket), lists) !== undefined);
  };
  every(lookAtCertificatesMs, "look at certificates", lookAtCertificates, running);
  const certificate = () => new X509Certificate(credential().cert);
  const gauges = [
    chassisMetrics.certificateNotBefore.observe(async () => certificate().validFromDate.getTime() / 1000),
    chassisMetrics.certificateNotAfter.observe(async () => certificate().validToDate.getTime() / 1000),
  ];
  const tcpPort = listeners[1]?.port;
  logger.info({ unixPath: config.listen.unixPath, tcpPort }, "serving");

  return {
    unixPath: config.listen.unixPath,
    ...(tcpPort === undefined ? {} : { tcpPort }),
    setServing: (serving) => health.setServing(serving),
    async close() {
      for (const gauge of gauges) gauge[Symbol.dispose]();
      health.shutdown();
      await drain(listeners, shutdown, config.shutdownGraceMs);
      closed.abort();
      refusals?.flush();
    },
  };
}

/** Gives the listeners what the certificate's files hold, whenever that has changed. */
function renewal(listeners: readonly Listener[], credential: CredentialSource, logger: Logger): () => void {
  let served = credential();
  return () => {
    const next = credential();
    if (next.stamp === served.stamp) return;
    for (const listener of listeners) listener.renew(next);
    served = next;
    logger.info({ notAfter: new X509Certificate(next.cert).validTo }, "certificate renewed");
  };
}

async function drain(listeners: readonly Listener[], shutdown: AbortController, graceMs: number): Promise<void> {
  const done = new AbortController();
  const after = async (ms: number, then: () => void): Promise<void> => {
    await delay(ms, undefined, { signal: done.signal }).then(then, () => undefined);
  };
  const soft = after(graceMs / 2, () => shutdown.abort(new ConnectError("server is stopping", Code.Unavailable)));
  const hard = after(graceMs, () => {
    for (const listener of listeners) listener.destroy();
  });
  await Promise.all(listeners.map((listener) => listener.close()));
  done.abort();
  await Promise.all([soft, hard]);
}
