import { chassisMetrics as chassis } from "@lobsterd/chassis/chassis-metrics.ts";
import { secretsMetrics as secrets } from "../../../services/secrets/src/metrics.ts";
import { type Dashboard, lines, stat } from "../dashboard.ts";
import { increase, quantile, rate, series } from "../queries.ts";

const ours = { "rpc.method": /lobsterd.*/ };

/** Rate, errors and duration of every RPC, and what every service has in common. */
export const calls: Dashboard = {
  uid: "lobsterd-calls",
  title: "lobsterd: calls",
  description: "Rate, errors and duration of each RPC; events and processes",
  rows: [
    {
      title: "Calls",
      panels: [
        lines("Rate", "Calls served, by method", "ops", {
          query: rate(chassis.calls, ["rpc.method"], ours),
          legend: "{{rpc_method}}",
        }),
        lines("Errors", "Calls that ended in another code than OK", "ops", {
          query: rate(chassis.calls, ["rpc.method", "rpc.response.status_code"], {
            ...ours,
            "rpc.response.status_code": /[A-NP-Z].*/,
          }),
          legend: "{{rpc_method}} {{rpc_response_status_code}}",
        }),
        lines("Duration, 95 %", "A stream counts when it ends, and is long", "s", {
          query: quantile(0.95, chassis.calls, ["rpc.method"], ours),
          legend: "{{rpc_method}}",
        }),
      ],
    },
    {
      title: "Refused",
      panels: [
        lines("Refused at the gate", "No certificate, a bad one, or no row in the allow table", "ops", {
          query: rate(chassis.refusedCalls, ["job", "reason"]),
          legend: "{{job}} {{reason}}",
        }),
        lines("Certificates", "How much of its life each service's certificate has left", "percentunit", {
          query: `(${series(chassis.certificateNotAfter)} - time()) / (${series(chassis.certificateNotAfter)} - ${series(chassis.certificateNotBefore)})`,
          legend: "{{job}}",
        }),
      ],
    },
    {
      title: "Events",
      panels: [
        stat("Broker", "1 while every service is connected", "short", `min(${series(chassis.brokerConnected)})`, {
          isBadBelowOne: true,
        }),
        lines("Queued", "Events that wait for the broker", "short", {
          query: series(chassis.eventsQueued),
          legend: "{{job}}",
        }),
        lines("Dropped", "Events that did not fit into the queue", "ops", {
          query: rate(chassis.eventsDropped, ["job"]),
          legend: "{{job}}",
        }),
      ],
    },
    {
      title: "Secrets",
      panels: [
        stat("Root key", "1 while it can be used", "short", series(secrets.rootKeyReady), { isBadBelowOne: true }),
        lines("Deliveries", "Sets of secrets sent to guests", "ops", {
          query: rate(secrets.deliveries, ["outcome"]),
          legend: "{{outcome}}",
        }),
        lines("Provider, 95 %", "Calls to what holds the root key", "s", {
          query: quantile(0.95, secrets.provider, ["operation"]),
          legend: "{{operation}}",
        }),
        lines(
          "Provider errors, alarms",
          "In five minutes",
          "short",
          {
            query: increase(secrets.provider, "5m", ["operation"], { outcome: "failed" }),
            legend: "{{operation}} failed",
          },
          { query: increase(secrets.leaseAlarms, "5m"), legend: "lease alarms" },
          { query: increase(secrets.rotationsFailed, "5m"), legend: "rotations given up" },
        ),
      ],
    },
    {
      title: "Processes",
      panels: [
        lines("Memory", "Resident", "bytes", { query: series(chassis.memory), legend: "{{job}}" }),
        lines("Event loop", "The longest time without an answer between two exports", "s", {
          query: series(chassis.eventLoopDelay),
          legend: "{{job}}",
        }),
      ],
    },
  ],
};
