import { netMetrics as net } from "../../../services/net/src/metrics.ts";
import { proxyMetrics as proxy } from "../../../services/proxy/src/metrics.ts";
import { vmMetrics as vm } from "../../../services/vm/src/metrics.ts";
import { type Dashboard, lines, stat } from "../dashboard.ts";
import { increase, series } from "../queries.ts";

const held = series(vm.capacity, { what: "held" });
const limit = series(vm.capacity, { what: "limit" });

/** How full a host is, and of what. */
export const host: Dashboard = {
  uid: "lobsterd-host",
  title: "lobsterd: host capacity",
  description: "Tenants of a host, and what they hold of it",
  rows: [
    {
      title: "Tenants",
      panels: [
        stat("Running", "Tenants that run", "short", series(vm.tenants, { state: "running" })),
        stat("Failed", "Tenants whose microVM ended by itself", "short", series(vm.tenants, { state: "failed" }), {
          thresholds: { red: 1 },
        }),
        stat(
          "Fullest",
          "The resource of which least is left",
          "percentunit",
          `max(${held} / ignoring (what) ${limit})`,
          {
            thresholds: { amber: 0.8, red: 0.95 },
          },
        ),
        stat(
          "Refused for room",
          "In the last hour",
          "short",
          increase(vm.failures, "1h", [], { "error.type": /HOST_FULL|NO_FREE_SLOT|BOOT_QUEUE_FULL/ }),
          {
            thresholds: { red: 1 },
          },
        ),
      ],
    },
    {
      title: "Capacity",
      panels: [
        lines("Share held", "Of what this host admits", "percentunit", {
          query: `${held} / ignoring (what) ${limit}`,
          legend: "{{resource}}",
        }),
        lines("Tenants by state", "Rows of the store", "short", { query: series(vm.tenants), legend: "{{state}}" }),
      ],
    },
    {
      title: "Network",
      panels: [
        lines("Slots", "A cold slot is being made", "short", { query: series(net.slots), legend: "{{state}}" }),
        lines("Tracked connections", "The kernel's table; a full one drops every new connection of the host", "short", {
          query: series(net.connections),
          legend: "{{what}}",
        }),
        lines("Routes", "Tenants that a name leads to", "short", { query: series(proxy.routes), legend: "routes" }),
      ],
    },
    {
      title: "Repairs",
      panels: [
        lines("Given back", "What tenants missed and got again, in five minutes", "short", {
          query: increase(vm.repairs, "5m", ["action", "outcome"]),
          legend: "{{action}} {{outcome}}",
        }),
        lines("Given up", "Tenants, in five minutes, by reason", "short", {
          query: increase(vm.tenantsFailed, "5m", ["reason"]),
          legend: "{{reason}}",
        }),
      ],
    },
    {
      title: "Guests",
      panels: [
        lines("Misbehaviour", "Answers of guests outside their contract, in five minutes", "short", {
          query: increase(vm.misbehaviours, "5m"),
          legend: "answers",
        }),
        lines("Identities renewed", "In five minutes", "short", {
          query: increase(vm.renewals, "5m", ["outcome"]),
          legend: "{{outcome}}",
        }),
      ],
    },
  ],
};
