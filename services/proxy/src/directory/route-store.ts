import type { DatabaseSync } from "node:sqlite";
import { transaction } from "@lobsterd/chassis/sqlite.ts";

/** Version n of the store is what the first n of these make. */
export const migrations: readonly string[] = [
  `CREATE TABLE route (
    tenant TEXT PRIMARY KEY,
    vm_id TEXT NOT NULL,
    generation INTEGER NOT NULL,
    guest_address TEXT NOT NULL,
    published_ms INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID`,
  `CREATE TABLE extra_host (
    host_name TEXT PRIMARY KEY,
    tenant TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX extra_host_tenant ON extra_host (tenant)`,
  "ALTER TABLE route ADD COLUMN state TEXT NOT NULL DEFAULT 'awake' CHECK (state IN ('awake', 'asleep'))",
];

/** `asleep`: the tenant is suspended, and a request has to wake it first. */
export type RouteState = "awake" | "asleep";

/** Where one tenant's name leads. `publishedMs` is Unix time. */
export type StoredRoute = {
  readonly tenant: string;
  readonly vmId: string;
  readonly generation: number;
  readonly state: RouteState;
  /** Empty while it is asleep. */
  readonly guestAddress: string;
  /** Names outside the platform's domain, sorted. */
  readonly extraHostNames: readonly string[];
  readonly publishedMs: number;
};

/** The truth about routes. What a method wrote is durable when it returns. */
export interface RouteStore {
  get(tenant: string): StoredRoute | undefined;
  /** Whose an extra host name is. */
  tenantOf(hostName: string): string | undefined;
  put(route: StoredRoute): void;
  delete(tenant: string): void;
  /** Routes in order of tenant, from the first one after `afterTenant`, at most `limit`. */
  list(afterTenant: string, limit: number): StoredRoute[];
  all(): StoredRoute[];
}

export function openRouteStore(database: DatabaseSync): RouteStore {
  const columns = "tenant, vm_id, generation, state, guest_address, published_ms";
  const hosts = "(SELECT json_group_array(host_name) FROM extra_host WHERE tenant = route.tenant) AS extra_host_names";
  const get = database.prepare(`SELECT ${columns}, ${hosts} FROM route WHERE tenant = ?`);
  const put = database.prepare(`INSERT OR REPLACE INTO route (${columns}) VALUES (?, ?, ?, ?, ?, ?)`);
  const remove = database.prepare("DELETE FROM route WHERE tenant = ?");
  const list = database.prepare(`SELECT ${columns}, ${hosts} FROM route WHERE tenant > ? ORDER BY tenant LIMIT ?`);
  const everyRoute = database.prepare(`SELECT ${columns} FROM route ORDER BY tenant`);
  const everyHost = database.prepare("SELECT host_name, tenant FROM extra_host ORDER BY host_name");
  const hostOwner = database.prepare("SELECT tenant FROM extra_host WHERE host_name = ?");
  const putHost = database.prepare("INSERT INTO extra_host (host_name, tenant) VALUES (?, ?)");
  const removeHosts = database.prepare("DELETE FROM extra_host WHERE tenant = ?");
  return {
    get(tenant) {
      const row = get.get(tenant);
      return row === undefined ? undefined : fromRow(row);
    },
    tenantOf(hostName) {
      const row = hostOwner.get(hostName);
      return row === undefined ? undefined : String(row["tenant"]);
    },
    put(route) {
      transaction(database, () => {
        const { tenant, vmId, generation, state, guestAddress, publishedMs } = route;
        put.run(tenant, vmId, generation, state, guestAddress, publishedMs);
        removeHosts.run(route.tenant);
        for (const hostName of route.extraHostNames) putHost.run(hostName, route.tenant);
      });
    },
    delete(tenant) {
      transaction(database, () => {
        remove.run(tenant);
        removeHosts.run(tenant);
      });
    },
    list: (afterTenant, limit) => list.all(afterTenant, limit).map(fromRow),
    all() {
      // A subquery for each of 10,000 routes takes most of the time, and few have a name of their own.
      const names = Map.groupBy(everyHost.all(), (row) => String(row["tenant"]));
      const hostsOf = (tenant: string): string[] => names.get(tenant)?.map((row) => String(row["host_name"])) ?? [];
      return everyRoute.all().map((row) => ({ ...fromColumns(row), extraHostNames: hostsOf(String(row["tenant"])) }));
    },
  };
}

function fromRow(row: Record<string, unknown>): StoredRoute {
  return { ...fromColumns(row), extraHostNames: (JSON.parse(String(row["extra_host_names"])) as string[]).sort() };
}

function fromColumns(row: Record<string, unknown>): Omit<StoredRoute, "extraHostNames"> {
  return {
    tenant: String(row["tenant"]),
    vmId: String(row["vm_id"]),
    generation: Number(row["generation"]),
    state: row["state"] === "asleep" ? "asleep" : "awake",
    guestAddress: String(row["guest_address"]),
    publishedMs: Number(row["published_ms"]),
  };
}
