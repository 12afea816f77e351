import { Code } from "@connectrpc/connect";
import { Health, HealthCheckResponse_ServingStatus as Status } from "@lobsterd/proto/grpc/health/v1/health_pb.ts";
import { defineErrors } from "./errors.ts";
import { defineRoutes, type Routes } from "./routes.ts";

const fail = defineErrors("lobsterd", { SERVICE_UNKNOWN: Code.NotFound });

/** `grpc.health.v1` of one process: all of its services have one status. */
export interface HealthService {
  readonly routes: Routes;
  setServing(serving: boolean): void;
  /** NOT_SERVING for good; watchers get it as their last message. */
  shutdown(): void;
}

/** Health for `names` (and `""`, the process). Starts as SERVING. */
export function createHealth(names: readonly string[]): HealthService {
  const known = new Set(["", ...names]);
  let serving = true;
  let stopped = false;
  let changed = Promise.withResolvers<void>();

  const statusOf = (name: string) => {
    if (!known.has(name)) return Status.SERVICE_UNKNOWN;
    return serving ? Status.SERVING : Status.NOT_SERVING;
  };
  const announce = () => {
    const previous = changed;
    changed = Promise.withResolvers<void>();
    previous.resolve();
  };

  const routes = defineRoutes(Health, {
    check({ service }) {
      const status = statusOf(service);
      if (status === Status.SERVICE_UNKNOWN) throw fail("SERVICE_UNKNOWN", "this server has no such service");
      return { status };
    },
    list() {
      return { statuses: Object.fromEntries([...known].map((name) => [name, { status: statusOf(name) }])) };
    },
    async *watch({ service }, { signal }) {
      const aborted = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
      let sent: Status | undefined;
      for (;;) {
        const next = changed.promise;
        const status = statusOf(service);
        if (status !== sent) yield { status };
        sent = status;
        if (stopped || signal.aborted) return;
        await Promise.race([next, aborted]);
      }
    },
  });
  return {
    routes,
    setServing(next) {
      if (stopped) return;
      serving = next;
      announce();
    },
    shutdown() {
      serving = false;
      stopped = true;
      announce();
    },
  };
}
