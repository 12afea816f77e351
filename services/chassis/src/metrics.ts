import { type Counter, metrics } from "@opentelemetry/api";

/**
 * A counter of the one meter, `lobsterd.<service>.<what>`; without a metric reader in the telemetry preload it counts nothing.
 * Attributes are of small, fixed sets: never a tenant, an address or an id.
 */
export function createCounter(name: string, description: string): Counter {
  return metrics.getMeter("lobsterd").createCounter(name, { description });
}
