/**
 * Which tenant's name leads where: the store is the truth, the map in memory is what the resolver reads, the name files are
 * what Caddy looks at. All of it is synchronous, so calls cannot interleave.
 *
 *  1. Widening is durable before it has an effect: store, then map, then name file.
 *  2. Narrowing has its effect before anything that can be slow or fail: name file, then map, then store. Putting a name to sleep narrows.
 *  3. `reconcile` makes map and name files from the store; twice in a row changes nothing the second time.
 *  4. A route only goes forward: a generation is awake, then asleep, then there is a later one. So a late call of `vm` changes nothing.
 */

import { BlockList } from "node:net";
import { fail } from "../errors.ts";
import { isReservedHostName } from "../tenant-name.ts";
import { asleepDirectory, type ExtraHost, type NameFiles } from "./name-files.ts";
import type { RouteStore, StoredRoute } from "./route-store.ts";

export type PublishRequest = Omit<StoredRoute, "publishedMs">;

export interface RouteDirectory {
  /** Throws STALE_GENERATION, ROUTE_TAKEN, NOT_A_GUEST_ADDRESS, HOST_NAME_TAKEN or HOST_NAME_RESERVED. `changed` is false for what was published already. */
  publish(request: PublishRequest): { route: StoredRoute; changed: boolean };
  /** Returns the route that was taken away: none if there was none, or if it leads to another microVM than `vmId`. */
  withdraw(tenant: string, vmId: string): StoredRoute | undefined;
  /** Throws ROUTE_NOT_FOUND. */
  get(tenant: string): StoredRoute;
  list(afterTenant: string, limit: number): StoredRoute[];
  /** Published tenants. */
  count(): number;
  /** Guest address of a published tenant, from memory. */
  addressOf(tenant: string): string | undefined;
  /** The published route, if there is one. */
  find(tenant: string): StoredRoute | undefined;
  /** Returns the names that had to be added and removed; extra host names as `<host name>/<tenant>`. */
  reconcile(): { added: string[]; removed: string[] };
}

export function createRouteDirectory(parts: {
  store: RouteStore;
  names: NameFiles;
  /** `10.201.0.0/16`: the only addresses a name may lead to. */
  guestNetwork: string;
  /** The platform's own, under which no tenant has a name but its own. */
  domain: string;
  nowMs: () => number;
}): RouteDirectory {
  const { store, names } = parts;
  const guests = networkOf(parts.guestNetwork);
  const addresses = new Map<string, string>();

  function requireFreeHostName(hostName: string, tenant: string): void {
    const metadata = { host_name: hostName };
    if (isReservedHostName(hostName, parts.domain)) {
      throw fail("HOST_NAME_RESERVED", `${hostName} may be no tenant's`, { metadata });
    }
    const owner = store.tenantOf(hostName);
    if (owner !== undefined && owner !== tenant) {
      throw fail("HOST_NAME_TAKEN", `${hostName} belongs to another tenant`, { metadata });
    }
  }

  function reconcileHosts(routes: readonly StoredRoute[]): { added: string[]; removed: string[] } {
    const pairOf = (host: ExtraHost): string => `${host.hostName}/${host.tenant}`;
    const wanted = routes.flatMap(({ tenant, extraHostNames }) =>
      extraHostNames.map((hostName) => ({ hostName, tenant })),
    );
    const wantedPairs = new Set(wanted.map(pairOf));
    const wrong = names.listHosts().filter((host) => !wantedPairs.has(pairOf(host)));
    for (const { hostName } of wrong) names.removeHost(hostName);
    const present = new Set(names.listHosts().map(pairOf));
    const missing = wanted.filter((host) => !present.has(pairOf(host)));
    for (const host of missing) names.addHost(host);
    return { added: missing.map(pairOf), removed: wrong.map(pairOf) };
  }

  function reconcileSleep(routes: readonly StoredRoute[]): { added: string[]; removed: string[] } {
    const wanted = routes.filter(({ state }) => state === "asleep").map(({ tenant }) => tenant);
    const present = new Set(names.listAsleep());
    const added = wanted.filter((tenant) => !present.has(tenant));
    const removed = [...present.difference(new Set(wanted))];
    for (const tenant of added) names.markAsleep(tenant);
    for (const tenant of removed) names.markAwake(tenant);
    const shown = (tenant: string): string => `${asleepDirectory}/${tenant}`;
    return { added: added.map(shown), removed: removed.map(shown) };
  }

  /** Rule 1 or rule 2, by what becomes of the name. */
  function apply(route: StoredRoute, isNew: boolean): void {
    const { tenant, state, guestAddress } = route;
    if (state === "asleep") {
      names.markAsleep(tenant);
      addresses.delete(tenant);
      if (isNew) store.put(route);
    } else {
      if (isNew) store.put(route);
      addresses.set(tenant, guestAddress);
      names.markAwake(tenant);
    }
    names.add(tenant);
    for (const hostName of route.extraHostNames) names.addHost({ hostName, tenant });
  }

  return {
    publish(request) {
      if (request.state === "awake" && !guests.check(request.guestAddress, "ipv4")) {
        throw fail("NOT_A_GUEST_ADDRESS", `${request.guestAddress} is not in ${parts.guestNetwork}`, {
          metadata: { field: "guest_address" },
        });
      }
      const guestAddress = request.state === "awake" ? request.guestAddress : "";
      const wanted = { ...request, guestAddress, extraHostNames: [...request.extraHostNames].sort() };
      for (const hostName of wanted.extraHostNames) requireFreeHostName(hostName, wanted.tenant);
      const current = store.get(wanted.tenant);
      const changed = isChange(current, wanted);
      const route = changed || current === undefined ? { ...wanted, publishedMs: parts.nowMs() } : current;
      for (const hostName of current?.extraHostNames ?? []) {
        if (!route.extraHostNames.includes(hostName)) names.removeHost(hostName);
      }
      apply(route, changed);
      return { route, changed };
    },
    withdraw(tenant, vmId) {
      const current = store.get(tenant);
      if (current === undefined || (vmId !== "" && current.vmId !== vmId)) return undefined;
      names.remove(tenant);
      for (const hostName of current.extraHostNames) names.removeHost(hostName);
      addresses.delete(tenant);
      store.delete(tenant);
      names.markAwake(tenant);
      return current;
    },
    get(tenant) {
      const route = store.get(tenant);
      if (route === undefined) throw fail("ROUTE_NOT_FOUND", `${tenant} has no route`, { metadata: { tenant } });
      return route;
    },
    list: (afterTenant, limit) => store.list(afterTenant, limit),
    count: () => addresses.size,
    addressOf: (tenant) => addresses.get(tenant),
    find: (tenant) => store.get(tenant),
    reconcile() {
      const routes = store.all();
      addresses.clear();
      for (const { tenant, state, guestAddress } of routes) if (state === "awake") addresses.set(tenant, guestAddress);
      const wanted = new Set(routes.map(({ tenant }) => tenant));
      const present = new Set(names.list());
      const added = [...wanted.difference(present)];
      const removed = [...present.difference(wanted)];
      for (const tenant of removed) names.remove(tenant);
      // Before its name is there: a sleeping tenant's request is held, not sent to nobody.
      const asleep = reconcileSleep(routes);
      for (const tenant of added) names.add(tenant);
      const hosts = reconcileHosts(routes);
      return {
        added: [...added, ...asleep.added, ...hosts.added],
        removed: [...removed, ...asleep.removed, ...hosts.removed],
      };
    },
  };
}

/** Whether `request` replaces `current`; throws where it must not. */
function isChange(current: StoredRoute | undefined, request: PublishRequest): boolean {
  if (current === undefined) return true;
  const metadata = { tenant: current.tenant, published_generation: String(current.generation) };
  if (current.vmId !== request.vmId) {
    throw fail("ROUTE_TAKEN", `${current.tenant} leads to another microVM`, { metadata });
  }
  const sameGeneration = current.generation === request.generation;
  const isLulled = current.state === "awake" && request.state === "asleep";
  const isAnother = sameGeneration && !isLulled && current.guestAddress !== request.guestAddress;
  if (request.generation < current.generation || isAnother) {
    throw fail("STALE_GENERATION", `generation ${current.generation} of ${current.tenant} is published`, { metadata });
  }
  return !sameGeneration || isLulled || current.extraHostNames.join() !== request.extraHostNames.join();
}

function networkOf(cidr: string): BlockList {
  const [address, prefix] = cidr.split("/");
  const network = new BlockList();
  network.addSubnet(address ?? "", Number(prefix), "ipv4");
  return network;
}
