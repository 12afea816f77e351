import { chassisMetrics as chassis } from "@lobsterd/chassis/chassis-metrics.ts";
import { AuditService } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { auditMetrics as audit } from "../../../services/audit/src/metrics.ts";
import { type Dashboard, lines, stat } from "../dashboard.ts";
import { increase, quantile, rate, series } from "../queries.ts";

const appends = { "rpc.method": `${AuditService.typeName}/${AuditService.method.appendRecord.name}` };

/** Whether everything that has to be recorded is, in time, and can be proved. */
export const auditHealth: Dashboard = {
  uid: "lobsterd-audit",
  title: "lobsterd: audit health",
  description: "The audit log, its checkpoints, and what waits for it in the services",
  rows: [
    {
      title: "Now",
      panels: [
        stat("Accepting", "1 while the log takes records", "short", series(audit.accepting), { isBadBelowOne: true }),
        stat(
          "Witness behind",
          "How long the oldest checkpoint has waited",
          "s",
          `max(${series(audit.checkpointLag)})`,
          {
            thresholds: { amber: 10, red: 60 },
          },
        ),
        stat(
          "Oldest in a spool",
          "How long a record has waited in a service",
          "s",
          `max(${series(chassis.spoolAge)})`,
          {
            thresholds: { amber: 10, red: 120 },
          },
        ),
        stat(
          "Lost",
          "Records that neither audit nor the spool took, in a day",
          "short",
          increase(chassis.recordsLost, "1d"),
          {
            thresholds: { red: 1 },
          },
        ),
      ],
    },
    {
      title: "Log",
      panels: [
        lines("Appends", "By code", "ops", {
          query: rate(chassis.calls, ["rpc.response.status_code"], appends),
          legend: "{{rpc_response_status_code}}",
        }),
        lines(
          "Append, 50 % and 99 %",
          "As its writers wait for it",
          "s",
          { query: quantile(0.5, chassis.calls, [], appends), legend: "50 %" },
          { query: quantile(0.99, chassis.calls, [], appends), legend: "99 %" },
        ),
        lines("Commit, 99 %", "One write and one fsync", "s", { query: quantile(0.99, audit.commits), legend: "99 %" }),
        lines("Waiting", "Appends that wait for a commit", "short", {
          query: series(audit.waiting),
          legend: "appends",
        }),
      ],
    },
    {
      title: "Checkpoints",
      panels: [
        lines("Records", "In the log", "short", { query: series(audit.records), legend: "records" }),
        lines("Not signed yet", "Signed every half second", "short", {
          query: series(audit.unsigned),
          legend: "records",
        }),
        lines("Lag by store", "file is on this host; a witness is a directory or a url", "s", {
          query: series(audit.checkpointLag),
          legend: "{{store}}",
        }),
      ],
    },
    {
      title: "Spools",
      panels: [
        lines("Waiting", "Records in each service", "short", {
          query: series(chassis.spoolRecords, { state: "waiting" }),
          legend: "{{job}}",
        }),
        lines("Refused", "Records that audit refused as invalid and the service keeps", "short", {
          query: series(chassis.spoolRecords, { state: "refused" }),
          legend: "{{job}}",
        }),
        lines("Size", "Of 256 MiB", "bytes", { query: series(chassis.spoolSize), legend: "{{job}}" }),
      ],
    },
  ],
};
