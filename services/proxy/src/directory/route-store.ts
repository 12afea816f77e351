import type { DatabaseSync } from "node:sqlite";

/** Version n of the store is what the first n of these make. */
export const migrations: readonly string[] = [
  `CREATE TABLE route (
    tenant TEXT PRIMARY KEY,
    vm_id TEXT NOT NULL,
    generation INTEGER NOT NULL,
    guest_address TEXT NOT NULL,
    published_ms INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID`,
];

/** Where one tenant's name leads. `publishedMs` is Unix time. */
export type StoredRoute = {
  readonly tenant: string;
  readonly vmId: string;
  readonly generation: number;
  readonly guestAddress: string;
  readonly publishedMs: number;
};

/** The truth about routes. What a method wrote is durable when it returns. */
export interface RouteStore {
  get(tenant: string): StoredRoute | undefined;
  put(route: StoredRoute): void;
  delete(tenant: string): void;
  /** Routes in order of tenant, from the first one after `afterTenant`, at most `limit`. */
  list(afterTenant: string, limit: number): StoredRoute[];
  all(): StoredRoute[];
}

export function openRouteStore(database: DatabaseSync): RouteStore {
  const columns = "tenant, vm_id, generation, guest_address, published_ms";
  const get = database.prepare(`SELECT ${columns} FROM route WHERE tenant = ?`);
  const put = database.prepare(`INSERT OR REPLACE INTO route (${columns}) VALUES (?, ?, ?, ?, ?)`);
  const remove = database.prepare("DELETE FROM route WHERE tenant = ?");
  const list = database.prepare(`SELECT ${columns} FROM route WHERE tenant > ? ORDER BY tenant LIMIT ?`);
  return {
    get(tenant) {
      const row = get.get(tenant);
      return row === undefined ? undefined : fromRow(row);
    },
    put(route) {
      put.run(route.tenant, route.vmId, route.generation, route.guestAddress, route.publishedMs);
    },
    delete(tenant) {
      remove.run(tenant);
    },
    list: (afterTenant, limit) => list.all(afterTenant, limit).map(fromRow),
    all: () => list.all("", -1).map(fromRow),
  };
}

function fromRow(row: Record<string, unknown>): StoredRoute {
  return {
    tenant: String(row["tenant"]),
    vmId: String(row["vm_id"]),
    generation: Number(row["generation"]),
    guestAddress: String(row["guest_address"]),
    publishedMs: Number(row["published_ms"]),
  };
}
