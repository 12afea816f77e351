import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { type AuditPolicy, createAuditClient, openAuditSpool, recordRuns } from "@lobsterd/chassis/audit.ts";
import { createServiceClient } from "@lobsterd/chassis/client.ts";
import { connectEvents, type EventBus } from "@lobsterd/chassis/events.ts";
import { followFile } from "@lobsterd/chassis/followed-file.ts";
import { openRequestLog, type RequestLog } from "@lobsterd/chassis/idempotency.ts";
import { every, type ServiceScope } from "@lobsterd/chassis/lifecycle.ts";
import { createLogger, type Logger } from "@lobsterd/chassis/logger.ts";
import { type RunningServer, startServer } from "@lobsterd/chassis/server.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { TenantService } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { z } from "zod";
import { access } from "./access.ts";
import { caddyConfig } from "./caddy/caddy-config.ts";
import { createKeeper } from "./caddy/keeper.ts";
import type { Config } from "./config.ts";
import { openNameFiles } from "./directory/name-files.ts";
import { createRouteDirectory, type RouteDirectory } from "./directory/route-directory.ts";
import { migrations, openRouteStore } from "./directory/route-store.ts";
import { createProxyEvents, type ProxyEvents } from "./events.ts";
import { proxyMetrics } from "./metrics.ts";
import { startResolver } from "./resolver/resolver.ts";
import { createRoutes } from "./routes.ts";
import { askVmBy } from "./waking/ask-vm.ts";
import { startWakeListener } from "./waking/wake-listener.ts";
import { createWakes, type Wakes } from "./waking/wakes.ts";

/** What the RPCs work with. */
export interface ProxyContext {
  readonly directory: RouteDirectory;
  readonly events: ProxyEvents;
  readonly requests: RequestLog;
  readonly wakes: Wakes;
  readonly domain: string;
}

const stampSchema = z.string().regex(/^[0-9a-f]{64}$/);

/** How soon a restarted Caddy is noticed; it costs one stat(2). */
const lookIntervalMs = 200;
/** On the wake socket, for requests that are refused because as many as may be are held. */
const spareConnections = 256;

/**
 * Composition root. Routes answer again as soon as the store is open, before anybody calls; health says SERVING only after
 * Caddy ran the desired configuration once, since a route that was published before then would lead nowhere.
 */
export async function startProxy(
  config: Config,
  scope: ServiceScope,
  overrides: { readonly bus?: EventBus } = {},
): Promise<RunningServer> {
  const logger = createLogger({ service: config.service, level: config.logLevel });
  scope.useLogger(logger);
  mkdirSync(config.stateDir, { recursive: true, mode: 0o700 });
  const database = openDatabase(join(config.stateDir, "routes.sqlite"), migrations);
  scope.onClose(() => database.close());
  const bus = overrides.bus ?? connectEvents({ config, logger });
  scope.onClose(() => bus.close());

  const audit = openAudit(config, database, logger, scope);
  const events = createProxyEvents({ bus, audit: audit.spool, logger });
  const directory = createRouteDirectory({
    store: openRouteStore(database),
    names: openNameFiles(config.namesDirectory),
    guestNetwork: config.guestNetwork,
    domain: config.domain,
    nowMs: Date.now,
  });
  repairNames(directory, events);
  const resolver = await startResolver(config.resolverPort, directory.addressOf, logger);
  scope.onClose(() => resolver.close());

  const wakes = openWakes(config, directory, events);
  const wakeSocketPath = join(config.namesDirectory, ".wake.sock");
  const listener = await startWakeListener(wakeSocketPath, wakes, config.waking.maxHeld + spareConnections, logger);
  scope.onClose(() => listener.close());

  const context = { directory, events, wakes, requests: openRequestLog(database), domain: config.domain };
  const server = await startServer({ config, logger, routes: createRoutes(context), access, audit });
  server.setServing(false);
  scope.onClose(() => server.close());

  const { checkIntervalMs, certificatesStampPath, ...caddy } = config.caddy;
  const { domain, namesDirectory, guestPort } = config;
  const places = { namesDirectory, wakeSocketPath, guestPort, resolverPort: resolver.port };
  const stamp = followCertificates(certificatesStampPath, logger);
  const keeper = createKeeper(() => caddyConfig({ ...caddy, ...places, domain, ...stamp() }), caddy.adminSocketPath);
  let isInLine = false;
  const keepCaddy = async (): Promise<void> => {
    const verdict = await keeper.checkIfDue(checkIntervalMs);
    if (verdict === undefined) return;
    events.caddyChecked(verdict);
    isInLine = verdict.kind === "equal" || verdict.kind === "loaded";
    if (isInLine) server.setServing(true);
  };
  every(lookIntervalMs, "compare caddy's configuration", keepCaddy, { signal: scope.signal, logger });
  const gauges = [
    proxyMetrics.routes.observe(() => directory.count()),
    proxyMetrics.caddy.observe(() => (isInLine ? 1 : 0)),
  ];
  scope.onClose(() => {
    for (const gauge of gauges) gauge[Symbol.dispose]();
  });
  const keepNames = async (): Promise<void> => repairNames(directory, events);
  every(checkIntervalMs, "compare names with the store", keepNames, { signal: scope.signal, logger });
  return server;
}

/** Without a path, certificate files are read when Caddy starts. Throws if the first read fails. */
function followCertificates(path: string | undefined, logger: Logger): () => { certificatesStamp?: string } {
  if (path === undefined) return () => ({});
  const follow = followFile(path, "certificates stamp", (json) => stampSchema.parse(json), logger);
  return () => ({ certificatesStamp: follow() });
}

function openWakes(config: Config, directory: RouteDirectory, events: ProxyEvents): Wakes {
  const tls = { ...config.tls, trustDomain: config.trustDomain };
  const vm = createServiceClient(TenantService, { service: "vm", unixPath: config.peers.vm }, tls);
  const { holdLimitMs } = config.caddy.limits;
  return createWakes({
    find: directory.find,
    ask: askVmBy(vm, holdLimitMs),
    limits: { ...config.waking, holdLimitMs },
    nowMs: () => performance.now(),
    told: events,
  });
}

/**
 * What vm asks for is a step of a call that it recorded; whom this service refuses is recorded by nobody else. The spool is a durable queue in
 * front of audit: undoing a change is not held up by it, and its record is not lost.
 */
function openAudit(config: Config, database: DatabaseSync, logger: Logger, scope: ServiceScope): AuditPolicy {
  const sink = createAuditClient({
    peer: { service: "audit", unixPath: config.peers.audit },
    tls: { ...config.tls, trustDomain: config.trustDomain },
  });
  const spool = openAuditSpool(database, sink, logger);
  scope.onClose(() => spool.close());
  recordRuns(spool, scope, logger);
  return { sink, spool, methods: {} };
}

function repairNames(directory: RouteDirectory, events: ProxyEvents): void {
  const { added, removed } = directory.reconcile();
  if (added.length > 0 || removed.length > 0) events.namesRepaired(added, removed);
}
