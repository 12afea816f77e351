import { connectEvents } from "@lobsterd/chassis/events.ts";
import { openRequestLog } from "@lobsterd/chassis/idempotency.ts";
import { every, type ServiceScope } from "@lobsterd/chassis/lifecycle.ts";
import type { Logger } from "@lobsterd/chassis/logger.ts";
import { startServer } from "@lobsterd/chassis/server.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { networkAccess } from "./access.ts";
import type { NetConfig } from "./config.ts";
import { createNetEvents } from "./events.ts";
import { createProcessRunner } from "./host/process.ts";
import { openNetworkStack } from "./network-stack.ts";
import { migrations } from "./networks/network-store.ts";
import { networkRoutes } from "./routes.ts";

/**
 * Composition root. Serves only after the rules were read back equal. A stop leaves rules, slots and guests as they are:
 * guests outlive every service.
 */
export async function startNetService(config: NetConfig, logger: Logger, scope: ServiceScope): Promise<void> {
  const database = openDatabase(`${config.stateDir}/net.sqlite`, migrations);
  scope.onClose(() => database.close());
  const bus = connectEvents({ config, logger });
  scope.onClose(() => bus.close());
  const stack = await openNetworkStack({
    config,
    runner: createProcessRunner(),
    database,
    events: createNetEvents(bus, logger),
    logger,
    now: Date.now,
  });
  const server = await startServer({
    config,
    logger,
    routes: [networkRoutes({ ...stack, requests: openRequestLog(database) })],
    access: [networkAccess],
  });
  scope.onClose(() => server.close());

  const background = { signal: scope.signal, logger };
  every(config.reconcileIntervalMs, "reconcile", async () => void (await stack.reconcile()), background);
  every(config.reconcileIntervalMs, "fill pool", () => stack.pool.fill(scope.signal), background);
  logger.info({ slotCount: config.slotCount, uplink: config.uplinkInterface }, "net is serving");
}
