import type { EventBus } from "@lobsterd/chassis/events.ts";
import type { Logger } from "@lobsterd/chassis/logger.ts";
import type { Verdict } from "./caddy/keeper.ts";
import type { StoredRoute } from "./directory/route-store.ts";

/** What happens to routes and to Caddy: one function per event, each feeding log and bus. */
export interface ProxyEvents {
  routePublished(route: StoredRoute): void;
  routeWithdrawn(route: StoredRoute): void;
  /** The names directory was not what the store says. */
  namesRepaired(added: readonly string[], removed: readonly string[]): void;
  /** What a check of Caddy found. A state that lasts is told once, not at every check. */
  caddyChecked(verdict: Verdict): void;
}

const maxNames = 20;

export function createProxyEvents(bus: EventBus, logger: Logger): ProxyEvents {
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

  return {
    routePublished: (route) => tellRoute(route, "route-published", "route published"),
    routeWithdrawn: (route) => tellRoute(route, "route-withdrawn", "route withdrawn"),
    namesRepaired(added, removed) {
      const data = { added: added.slice(0, maxNames), removed: removed.slice(0, maxNames) };
      tellHost("warn", "names-repaired", "names directory differed from the store", data);
    },
    caddyChecked(verdict) {
      const state =
        verdict.kind === "equal" || verdict.kind === "loaded" ? "good" : `${verdict.kind} ${verdict.message}`;
      const isNews = state !== told;
      told = state;
      if (verdict.kind === "loaded") {
        const { cause, paths } = verdict;
        if (cause === "fresh") tellHost("warn", "caddy-configured", "caddy had no configuration, loaded it", { cause });
        else
          tellHost("error", "caddy-drift-undone", "caddy's configuration was changed by somebody else, undone", {
            cause,
            paths,
          });
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
