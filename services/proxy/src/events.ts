import { type AuditSink, driftRepair } from "@lobsterd/chassis/audit.ts";
import type { EventBus } from "@lobsterd/chassis/events.ts";
import type { Logger } from "@lobsterd/chassis/logger.ts";
import type { Verdict } from "./caddy/keeper.ts";
import type { StoredRoute } from "./directory/route-store.ts";
import { proxyMetrics } from "./metrics.ts";
import type { HeldRequestOutcome, WakeVerdict } from "./waking/wake.ts";

/**
 * What happens to routes and to Caddy: one function per event, each feeding log and bus. What somebody else changed and this service
 * undid is also a metric and a record of the audit log.
 */
export interface ProxyEvents {
  /** It leads to a guest, or to one that sleeps. */
  routePublished(route: StoredRoute): void;
  routeWithdrawn(route: StoredRoute): void;
  /** The names directory was not what the store says. */
  namesRepaired(added: readonly string[], removed: readonly string[]): void;
  /** What a check of Caddy found. A state that lasts is told once, not at every check. */
  caddyChecked(verdict: Verdict): void;
  /** A question to `vm` came to its end. Who wants to be told each time reads vm's events or the audit log: anybody can cause one. */
  wakeEnded(tenant: string, verdict: WakeVerdict): void;
  /** A request to a sleeping tenant was answered, or its client left. */
  requestReleased(how: HeldRequestOutcome): void;
}

const maxNames = 20;

export interface ProxyEventSinks {
  readonly bus: Pick<EventBus, "publish">;
  /** Durable on return. */
  readonly audit: AuditSink;
  readonly logger: Logger;
}

export function createProxyEvents({ bus, audit, logger }: ProxyEventSinks): ProxyEvents {
  let told = "";
  const facts = ({ vmId, generation, guestAddress }: StoredRoute) => ({ vmId, generation, guestAddress });

  function tellRoute(route: StoredRoute, name: string, message: string): void {
    logger.info({ tenant: route.tenant, ...facts(route) }, message);
    bus.publish({ tenant: route.tenant, name, data: facts(route) });
  }

  function tellHost(
    level: "info" | "warn" | "error",
    name: string,
    message: string,
    data: Record<string, unknown>,
  ): void {
    logger[level](data, message);
    bus.publish({ tenant: "", name, data });
  }

  function recordRepair(kind: "names" | "caddy-drift" | "caddy-moved", object: string): void {
    proxyMetrics.drift.add(1, { kind });
    audit.append(driftRepair(kind, object)).catch((error: unknown) => {
      logger.error({ err: error, kind, object }, "audit record of a repair could not be kept");
    });
  }

  return {
    routePublished: (route) =>
      route.state === "asleep"
        ? tellRoute(route, "route-asleep", "route asleep")
        : tellRoute(route, "route-published", "route published"),
    routeWithdrawn: (route) => tellRoute(route, "route-withdrawn", "route withdrawn"),
    namesRepaired(added, removed) {
      const data = { added: added.slice(0, maxNames), removed: removed.slice(0, maxNames) };
      tellHost("warn", "names-repaired", "names directory differed from the store", data);
      recordRepair("names", removed[0] ?? added[0] ?? "");
    },
    wakeEnded(tenant, verdict) {
      proxyMetrics.wakes.add(1, { outcome: verdict.kind });
      if (verdict.kind === "awake") logger.info({ tenant }, "tenant woken for a request");
      else logger.debug({ tenant, ...verdict }, "tenant not woken");
    },
    requestReleased: (how) => proxyMetrics.heldRequests.add(1, { outcome: how }),
    caddyChecked(verdict) {
      const state =
        verdict.kind === "equal" || verdict.kind === "loaded" ? "good" : `${verdict.kind} ${verdict.message}`;
      const isNews = state !== told;
      told = state;
      if (verdict.kind === "loaded") {
        const { cause, paths } = verdict;
        if (cause === "fresh") {
          tellHost("warn", "caddy-configured", "caddy had no configuration, loaded it", { cause });
        } else if (cause === "renewed") {
          tellHost("info", "caddy-certificates-read", "certificate files are new, caddy has read them", { cause });
        } else {
          const message = "caddy's configuration was changed by somebody else, undone";
          tellHost("error", "caddy-drift-undone", message, { cause, paths });
          recordRepair(`caddy-${cause}`, paths[0] ?? "");
        }
      } else if (verdict.kind === "equal") {
        if (isNews) logger.info("caddy runs the desired configuration");
      } else if (isNews) {
        const { kind, message } = verdict;
        tellHost("error", `caddy-${kind}`, "caddy does not run the desired configuration", {
          state: kind,
          cause: message,
        });
      }
    },
  };
}
