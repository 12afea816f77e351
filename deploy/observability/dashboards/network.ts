import { netMetrics as net } from "../../../services/net/src/metrics.ts";
import { proxyMetrics as proxy } from "../../../services/proxy/src/metrics.ts";
import { type Dashboard, lines, type Panel, stat } from "../dashboard.ts";
import { increase, rate, series } from "../queries.ts";

const forged = /spoofed.*|forged-arp|not-ipv4|ip-options|protocol|guest-to-.*|to-namespace|denied-range|other-resolver/;

const repairs: Panel = {
  type: "logs",
  source: "loki",
  title: "What was repaired",
  description: "Lines of net and proxy; each is a record of the audit log too",
  targets: [{ query: '{service_name=~"net|proxy"} |= "drift repaired" or "undone" or "differed from the store"' }],
};

/** What is dropped and why, and who changes the boundary. Whose packets they are is asked by RPC: GetNetworkUsage. */
export const network: Dashboard = {
  uid: "lobsterd-network",
  title: "lobsterd: network",
  description: "Dropped packets by reason, and changes to the network by somebody else",
  rows: [
    {
      title: "Drops",
      panels: [
        lines("All", "By reason", "pps", { query: `${rate(net.drops, ["reason"])} > 0`, legend: "{{reason}}" }),
        lines("What no honest guest sends", "Forged, malformed, or meant for what no guest may reach", "pps", {
          query: `${rate(net.drops, ["reason"], { reason: forged })} > 0`,
          legend: "{{reason}}",
        }),
        lines("Limits", "More packets, bytes or connections than a tenant has", "pps", {
          query: `${rate(net.drops, ["reason"], { reason: /.*-packets|.*-bandwidth|connection-rate|too-many-.*/ })} > 0`,
          legend: "{{reason}}",
        }),
      ],
    },
    {
      title: "Drift",
      panels: [
        stat("Network repaired", "Differences in the last hour", "short", increase(net.drift, "1h"), {
          thresholds: { red: 1 },
        }),
        stat("Front repaired", "Differences in the last hour", "short", increase(proxy.drift, "1h"), {
          thresholds: { red: 1 },
        }),
        stat("Caddy", "1 while it runs the desired configuration", "short", series(proxy.caddy), {
          isBadBelowOne: true,
        }),
      ],
    },
    {
      title: "Drift over time",
      panels: [
        lines(
          "Repaired, by kind",
          "In five minutes",
          "short",
          { query: `${increase(net.drift, "5m", ["kind"])} > 0`, legend: "{{kind}}" },
          { query: `${increase(proxy.drift, "5m", ["kind"])} > 0`, legend: "front: {{kind}}" },
        ),
        repairs,
      ],
    },
  ],
};
