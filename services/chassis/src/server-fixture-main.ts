/** A service process for the host tests: what a service's `main.ts` looks like. QueryRecords calls the service itself onward. */
import { AuditService } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { createServiceClient, onward } from "./client.ts";
import { commonConfigSchema, loadConfig } from "./config.ts";
import { openForeignSpans } from "./foreign-spans.ts";
import { runService } from "./lifecycle.ts";
import { createLogger } from "./logger.ts";
import { defineRoutes } from "./routes.ts";
import { startServer } from "./server.ts";
import { accessTable, idleHandlers } from "./server-fixture.ts";
import { currentTraceId, inSpan } from "./tracing.ts";

runService(async (scope) => {
  const config = loadConfig(commonConfigSchema);
  const logger = createLogger({ service: config.service, level: config.logLevel });
  scope.useLogger(logger);
  const tls = { ...config.tls, trustDomain: config.trustDomain };
  const self = createServiceClient(AuditService, { service: "audit", unixPath: config.listen.unixPath }, tls);
  const guests = openForeignSpans("agent");
  const routes = defineRoutes(AuditService, {
    ...idleHandlers,
    async queryRecords(_request, context) {
      await inSpan("step", {}, () => self.getInclusionProof({ treeSize: 1n }, onward(context)));
      return {};
    },
    async getInclusionProof() {
      const [startMs, endMs] = [Date.now() - 5, Date.now()];
      const parentSpanId = "00f067aa0ba902b7";
      guests.report({
        traceId: currentTraceId(),
        spanId: "a".repeat(16),
        parentSpanId,
        name: "boot",
        startMs,
        endMs,
        failed: false,
      });
      return {};
    },
    async *tailRecords(_request, { signal }) {
      yield {};
      await inSpan("inside stream", {}, async () => logger.info("inside stream"));
      yield {};
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
    },
    getCheckpoint() {
      // Nobody waits for this: the process has to end rather than run on in a state that nobody knows.
      void Promise.reject(new Error("forgotten"));
      return {};
    },
  });
  const access = {
    ...accessTable,
    rows: new Map(accessTable.rows).set("getInclusionProof", new Set(["service:audit"] as const)),
  };
  const server = await startServer({ config, logger, routes: [routes], access: [access] });
  scope.onClose(() => server.close());
});
