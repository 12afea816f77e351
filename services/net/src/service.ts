import type { DatabaseSync } from "node:sqlite";
import { type AuditSink, createAuditClient, openAuditSpool, recordRuns } from "@lobsterd/chassis/audit.ts";
import { connectEvents } from "@lobsterd/chassis/events.ts";
import { openRequestLog } from "@lobsterd/chassis/idempotency.ts";
import type { ServiceScope } from "@lobsterd/chassis/lifecycle.ts";
import type { Logger } from "@lobsterd/chassis/logger.ts";
import { startServer } from "@lobsterd/chassis/server.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { networkAccess } from "./access.ts";
import type { NetConfig } from "./config.ts";
import { createNetEvents } from "./events.ts";
import { readConntrackFacts } from "./host/conntrack-facts.ts";
import { createProcessRunner } from "./host/process.ts";
import { allDropReasons, netMetrics } from "./metrics.ts";
import { type NetworkStack, openNetworkStack } from "./network-stack.ts";
import { migrations } from "./networks/network-store.ts";
import { networkRoutes } from "./routes.ts";
import { createDropTotals } from "./usage/drop-totals.ts";

/**
 * Composition root. Serves only after the rules were read back equal. A stop leaves rules, slots and guests as they are:
 * guests outlive every service.
 */
export async function startNetService(config: NetConfig, logger: Logger, scope: ServiceScope): Promise<void> {
  const database = openDatabase(`${config.stateDir}/net.sqlite`, migrations);
  scope.onClose(() => database.close());
  const bus = connectEvents({ config, logger });
  scope.onClose(() => bus.close());
  const audit = openAudit(config, database, logger, scope);
  const stack = await openNetworkStack({
    config,
    runner: createProcessRunner(),
    database,
    events: createNetEvents({ bus, audit, logger }),
    logger,
    now: Date.now,
  });
  scope.onClose(() => stack.close());
  const gauges = showNetwork(stack, config.slotCount);
  scope.onClose(() => {
    for (const gauge of gauges) gauge[Symbol.dispose]();
  });
  const server = await startServer({
    config,
    logger,
    routes: [
      networkRoutes({
        ...stack,
        // After a power loss no microVM runs that a repeated call could give or take a network; the records themselves are synced.
        requests: openRequestLog(database, "process"),
        conntrack: readConntrackFacts,
        settings: config,
        now: Date.now,
      }),
    ],
    access: [networkAccess],
    // What vm asks for is a step of a call that it recorded; whom this service refuses is recorded by nobody else.
    audit: { sink: audit, spool: audit, methods: {} },
  });
  scope.onClose(() => server.close());

  stack.keep({ reconcileIntervalMs: config.reconcileIntervalMs, signal: scope.signal });
  logger.info({ slotCount: config.slotCount, uplink: config.uplinkInterface }, "net is serving");
}

/** Shows what is dropped, held and left, at each export; nothing is read while nobody exports. */
function showNetwork({ store, pool, usage }: NetworkStack, slotCount: number): readonly Disposable[] {
  const dropTotals = createDropTotals({ store, usage, reasons: allDropReasons });
  return [
    netMetrics.drops.observe(async () =>
      [...(await dropTotals())].map(([reason, count]) => [Number(count), { reason }] as const),
    ),
    netMetrics.slots.observe(() => {
      const attached = store.all().length;
      // A slot stays warm while its tenant uses it.
      const warm = pool.warm().size;
      return [
        [attached, { state: "attached" }],
        [Math.max(0, warm - attached), { state: "warm" }],
        [Math.max(0, slotCount - Math.max(warm, attached)), { state: "cold" }],
      ];
    }),
    netMetrics.connections.observe(() => {
      const { count, max } = readConntrackFacts();
      return [
        [count, { what: "held" }],
        [max, { what: "limit" }],
      ];
    }),
  ];
}

/** A durable queue in front of audit: a repair is not held up by it, and its record is not lost. */
function openAudit(config: NetConfig, database: DatabaseSync, logger: Logger, scope: ServiceScope): AuditSink {
  const sink = createAuditClient({
    peer: { service: "audit", unixPath: config.peers.audit },
    tls: { ...config.tls, trustDomain: config.trustDomain },
  });
  const spool = openAuditSpool(database, sink, logger);
  scope.onClose(() => spool.close());
  recordRuns(spool, scope, logger);
  return spool;
}
