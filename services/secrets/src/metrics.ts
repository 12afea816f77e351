import { defineMetrics } from "@lobsterd/chassis/metrics.ts";

/** What `secrets` exports beside what every service does. */
export const secretsMetrics = defineMetrics({
  deliveries: {
    name: "lobsterd.secrets.delivery.duration",
    kind: "histogram",
    unit: "s",
    description: "Sets of secrets sent to guests, one injection or one try of a rotation each",
    attributes: { outcome: ["taken", "failed"] },
  },
  rotationsFailed: {
    name: "lobsterd.secrets.rotations_failed",
    kind: "counter",
    unit: "{rotation}",
    description: "Rotations that were given up: a running guest is behind with its secrets",
  },
  provider: {
    name: "lobsterd.secrets.provider.duration",
    kind: "histogram",
    unit: "s",
    description: "Calls to what holds the root key",
    attributes: { operation: ["create", "unwrap", "destroy", "rewrap"], outcome: ["done", "failed"] },
  },
  rootKeyReady: {
    name: "lobsterd.secrets.root_key_ready",
    kind: "gauge",
    unit: "",
    description: "1 while the root key can be used, otherwise 0",
  },
  leaseAlarms: {
    name: "lobsterd.secrets.lease_alarms",
    kind: "counter",
    unit: "{alarm}",
    description: "Times that more injection leases were asked for in a minute than an ordinary host asks for",
  },
});
