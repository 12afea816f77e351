import { TenantService } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { proxyMetrics as proxy } from "../../../services/proxy/src/metrics.ts";
import { vmMetrics as vm } from "../../../services/vm/src/metrics.ts";
import { type Dashboard, lines, type Panel } from "../dashboard.ts";
import { quantile, rate, series } from "../queries.ts";

const uid = "lobsterd-spawn";

function found(method: keyof typeof TenantService.method): Panel {
  const name = `${TenantService.typeName}/${TenantService.method[method].name}`;
  return {
    type: "table",
    source: "tempo",
    title: TenantService.method[method].name,
    description: "A click on a trace shows its waterfall and its log lines below",
    targets: [{ query: `{ resource.service.name = "vm" && name = "${name}" && kind = server }` }],
    link: { column: "traceID", url: `/d/${uid}?var-traceId=\${__value.raw}` },
  };
}

/** From a tenant's operation to its trace, from the trace to every log line that was written in it. */
export const spawn: Dashboard = {
  uid,
  title: "lobsterd: spawn waterfall",
  description: "Operations on tenants: how long they and their steps take, and one of them as trace and logs",
  variables: [{ name: "traceId", label: "trace" }],
  rows: [
    {
      title: "Recent operations",
      panels: [found("spawnTenant"), found("suspendTenant"), found("resumeTenant"), found("evictTenant")],
    },
    {
      title: "One of them",
      panels: [
        {
          type: "traces",
          source: "tempo",
          title: "Waterfall",
          description: "From the caller to the guest's agent",
          targets: [{ query: "$traceId" }],
          height: 18,
        },
      ],
    },
    {
      title: "Its log lines",
      panels: [
        {
          type: "logs",
          source: "loki",
          title: "Logs of the trace",
          description: "Lines of every service that were written inside the trace",
          targets: [{ query: '{service_name=~".+"} | trace_id = "$traceId"' }],
          height: 10,
        },
      ],
    },
    {
      title: "All of them",
      panels: [
        lines("Operations", "By kind and outcome", "ops", {
          query: rate(vm.operations, ["operation", "outcome"], { operation: { not: "reconcile" } }),
          legend: "{{operation}} {{outcome}}",
        }),
        lines(
          "Operations, 50 % and 95 %",
          "From the beginning to the end, waiting in the boot queue included",
          "s",
          { query: quantile(0.5, vm.operations, ["operation"]), legend: "{{operation}} 50 %" },
          { query: quantile(0.95, vm.operations, ["operation"]), legend: "{{operation}} 95 %" },
        ),
        lines("Failures", "By vm's own reasons", "ops", {
          query: `${rate(vm.failures, ["error.type"])} > 0`,
          legend: "{{error_type}}",
        }),
      ],
    },
    {
      title: "Waking",
      panels: [
        lines("Wakes", "As vm did them, by how they ended", "ops", {
          query: rate(vm.wakes, ["outcome"]),
          legend: "{{outcome}}",
        }),
        lines("Questions to wake", "As proxy asked them", "ops", {
          query: rate(proxy.wakes, ["outcome"]),
          legend: "{{outcome}}",
        }),
        lines("Held requests", "Requests to sleeping tenants, by what became of them", "ops", {
          query: rate(proxy.heldRequests, ["outcome"]),
          legend: "{{outcome}}",
        }),
      ],
    },
    {
      title: "Steps",
      panels: [
        lines("Steps, 95 %", "Steps of the journal", "s", {
          query: quantile(0.95, vm.steps, ["step"]),
          legend: "{{step}}",
        }),
        lines("Failed steps", "By step", "ops", {
          query: rate(vm.steps, ["step"], { outcome: "failed" }),
          legend: "{{step}}",
        }),
        lines("Boots that wait", "As many boot at once as there are cores", "short", {
          query: series(vm.bootsWaiting),
          legend: "waiting",
        }),
        lines("What guests began with", "A boot of their kernel, or a warm template of their size", "ops", {
          query: rate(vm.guestStarts, ["what"]),
          legend: "{{what}}",
        }),
      ],
    },
  ],
};
