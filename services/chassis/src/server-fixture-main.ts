/** A service process for the host tests: what a service's `main.ts` looks like. */
import { AuditService } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { commonConfigSchema, loadConfig } from "./config.ts";
import { runService } from "./lifecycle.ts";
import { createLogger } from "./logger.ts";
import { defineRoutes } from "./routes.ts";
import { startServer } from "./server.ts";
import { accessTable, idleHandlers } from "./server-fixture.ts";

runService(async (scope) => {
  const config = loadConfig(commonConfigSchema);
  const logger = createLogger({ service: config.service, level: config.logLevel });
  scope.useLogger(logger);
  const routes = defineRoutes(AuditService, {
    ...idleHandlers,
    async *tailRecords(_request, { signal }) {
      yield {};
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
    },
  });
  const server = await startServer({ config, logger, routes: [routes], access: [accessTable] });
  scope.onClose(() => server.close());
});
