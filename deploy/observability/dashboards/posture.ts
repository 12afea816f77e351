import { vmMetrics as vm } from "../../../services/vm/src/metrics.ts";
import { type Dashboard, lines, stat } from "../dashboard.ts";
import { increase, series } from "../queries.ts";

/** Whether hosts may have tenants. Which control it is says `lobster host check`, or the log line that the panel shows. */
export const posture: Dashboard = {
  uid: "lobsterd-posture",
  title: "lobsterd: posture",
  description: "Controls of the hosts that are required for tenants",
  rows: [
    {
      title: "Now",
      panels: [
        stat(
          "Unmet",
          "Required controls that failed or are unknown",
          "short",
          `sum(${series(vm.controls, { required: "true", verdict: /fail|unknown/ })})`,
          {
            thresholds: { red: 1 },
          },
        ),
        stat(
          "Waived",
          "Required controls that an operator has waived, with a date",
          "short",
          series(vm.controls, { required: "true", verdict: "waived" }),
          {
            thresholds: { amber: 1, red: 1000 },
          },
        ),
        stat(
          "Spawns refused",
          "For the host's posture, in the last hour",
          "short",
          increase(vm.failures, "1h", [], { "error.type": "HOST_POSTURE" }),
          {
            thresholds: { red: 1 },
          },
        ),
      ],
    },
    {
      title: "Over time",
      panels: [
        lines("Required controls", "By verdict", "short", {
          query: series(vm.controls, { required: "true" }),
          legend: "{{instance}} {{verdict}}",
        }),
        lines("Other controls", "By verdict", "short", {
          query: series(vm.controls, { required: "false" }),
          legend: "{{instance}} {{verdict}}",
        }),
      ],
    },
    {
      title: "What changed",
      panels: [
        {
          type: "logs",
          source: "loki",
          title: "Controls that failed, are met again or are waived",
          description: "Lines of vm",
          targets: [{ query: '{service_name="vm"} |= "host control"' }],
        },
      ],
    },
  ],
};
