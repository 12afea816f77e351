import { defineMetrics } from "@lobsterd/chassis/metrics.ts";

/** What `proxy` exports beside what every service does. */
export const proxyMetrics = defineMetrics({
  routes: {
    name: "lobsterd.proxy.routes",
    kind: "gauge",
    unit: "{route}",
    description: "Tenants that a name leads to",
  },
  caddy: {
    name: "lobsterd.proxy.caddy_in_line",
    kind: "gauge",
    unit: "",
    description: "1 while Caddy was seen at the last check to run the desired configuration, otherwise 0",
  },
  wakes: {
    name: "lobsterd.proxy.wakes",
    kind: "counter",
    unit: "{question}",
    description: "Questions to vm to wake a tenant, by how they ended",
    attributes: { outcome: ["awake", "refused", "unknown"] },
  },
  heldRequests: {
    name: "lobsterd.proxy.held_requests",
    kind: "counter",
    unit: "{request}",
    description: "Requests to sleeping tenants, by what became of them",
    attributes: { outcome: ["awake", "gone", "refused", "left", "overdue", "full"] },
  },
  drift: {
    name: "lobsterd.proxy.drift_repaired",
    kind: "counter",
    unit: "{difference}",
    description: "Changes to Caddy's configuration or to the names directory by somebody else, undone, by kind",
    attributes: { kind: ["names", "caddy-drift", "caddy-moved"] },
  },
});
