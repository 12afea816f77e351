import { randomInt } from "node:crypto";
import { EventEmitter, once } from "node:events";
import type { DatabaseSync } from "node:sqlite";

/** A tenant that changed, was added or is gone: what became of it is in the store. */
export interface TenantChange {
  readonly revision: bigint;
  readonly name: string;
}

/**
 * Which tenants changed, each once, in the order in which they last did. Kept in memory, of at most `maxNames` names: a reader that
 * is further behind, or comes with a revision of an earlier run, has to read all tenants again. Slow readers cost nothing.
 */
export interface TenantChanges {
  /** Of the last change. Greater than 0, and greater with each change of this run; of another run it says nothing. */
  revision(): bigint;
  /** The changes after `revision`, to tenants of `owner` if it is given, oldest first, at most 100; `undefined` when it is not known any more, or never was, what they are. */
  after(revision: bigint, owner?: string): readonly TenantChange[] | undefined;
  /** Resolves at the next change; rejects when `signal` aborts. */
  changed(signal: AbortSignal): Promise<void>;
}

const maxNames = 10_000;
const pageSize = 100;

/**
 * Follows the table by a trigger of this connection, so that no write is missed, whoever makes it. A write that is rolled back is
 * a change too, which a reader finds to be none.
 */
export function openTenantChanges(database: DatabaseSync, limit = maxNames): TenantChanges {
  // A number for the run above the count: a revision of another run is out of this one's range.
  const first = BigInt(randomInt(1, 2 ** 31)) << 32n;
  /** By name and owner, so that an owner hears that its tenant is gone when the name is somebody else's already. */
  const revisions = new Map<string, TenantChange & { readonly owner: string }>();
  const changes = new EventEmitter();
  // Each call of WatchTenants that waits listens.
  changes.setMaxListeners(0);
  let last = first;
  let forgotten = first;

  const note = (name: string, owner: string) => {
    const key = `${name} ${owner}`;
    last += 1n;
    // A Map keeps the order of insertion: taking the name out first moves it to the end.
    revisions.delete(key);
    revisions.set(key, { revision: last, name, owner });
    for (const [oldest, { revision }] of revisions) {
      if (revisions.size <= limit) break;
      revisions.delete(oldest);
      forgotten = revision;
    }
    changes.emit("change");
  };

  database.function("note_tenant_change", (name, owner) => {
    note(String(name), String(owner));
    return null;
  });
  for (const [write, row] of [
    ["INSERT", "new"],
    ["UPDATE", "new"],
    ["DELETE", "old"],
  ]) {
    database.exec(
      `CREATE TEMP TRIGGER tenant_${write} AFTER ${write} ON main.tenant BEGIN SELECT note_tenant_change(${row}.name, ${row}.owner); END`,
    );
  }

  return {
    revision: () => last,
    after: (revision, owner) => {
      if (revision < forgotten || revision > last) return undefined;
      const found: TenantChange[] = [];
      for (const change of revisions.values()) {
        if (found.length === pageSize) break;
        if (change.revision > revision && (owner === undefined || change.owner === owner)) found.push(change);
      }
      return found;
    },
    changed: async (signal) => void (await once(changes, "change", { signal })),
  };
}
