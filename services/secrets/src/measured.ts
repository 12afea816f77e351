import type { Deliveries } from "./injection/deliveries.ts";
import { secretsMetrics } from "./metrics.ts";
import type { RootKeyProvider } from "./root-key/provider.ts";

/** The same provider, its calls for keys timed. */
export function measuredProvider(provider: RootKeyProvider): RootKeyProvider {
  type Operation = "create" | "unwrap" | "destroy" | "rewrap";
  const measure = <T>(operation: Operation, run: () => Promise<T>) =>
    timed(run, (seconds, failed) =>
      secretsMetrics.provider.record(seconds, { operation, outcome: failed ? "failed" : "done" }),
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
        (seconds, failed) => secretsMetrics.deliveries.record(seconds, { outcome: failed ? "failed" : "taken" }),
      ),
    cut: (vmIds) => deliveries.cut(vmIds),
  };
}

async function timed<T>(run: () => Promise<T>, ended: (seconds: number, failed: boolean) => void): Promise<T> {
  const startMs = performance.now();
  let failed = true;
  try {
    const result = await run();
    failed = false;
    return result;
  } finally {
    ended((performance.now() - startMs) / 1000, failed);
  }
}
