import { timed } from "@lobsterd/chassis/metrics.ts";
import type { Deliveries } from "./injection/deliveries.ts";
import { secretsMetrics } from "./metrics.ts";
import type { RootKeyProvider } from "./root-key/provider.ts";

/** The same provider, its calls for keys timed. */
export function measuredProvider(provider: RootKeyProvider): RootKeyProvider {
  type Operation = "create" | "unwrap" | "destroy" | "rewrap";
  const measure = <T>(operation: Operation, run: () => Promise<T>) =>
    timed(run, (seconds, error) =>
      secretsMetrics.provider.record(seconds, { operation, outcome: error === undefined ? "done" : "failed" }),
    );
  return {
    kind: provider.kind,
    create: (target) => measure("create", () => provider.create(target)),
    unwrap: (wrapped, target) => measure("unwrap", () => provider.unwrap(wrapped, target)),
    destroy: (tenantKeyId) => measure("destroy", () => provider.destroy(tenantKeyId)),
    rewrap: (wrapped, target) => measure("rewrap", () => provider.rewrap(wrapped, target)),
    beginRotation: () => provider.beginRotation(),
    finishRotation: () => provider.finishRotation(),
    health: () => provider.health(),
  };
}

/** The same deliveries, timed. */
export function measuredDeliveries(deliveries: Deliveries): Deliveries {
  return {
    send: (session, limits, taken) =>
      timed(
        () => deliveries.send(session, limits, taken),
        (seconds, error) =>
          secretsMetrics.deliveries.record(seconds, { outcome: error === undefined ? "taken" : "failed" }),
      ),
    cut: (vmIds) => deliveries.cut(vmIds),
  };
}
