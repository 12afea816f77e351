import type { DatabaseSync, StatementSync } from "node:sqlite";
import { openDatabase, transaction } from "@lobsterd/chassis/sqlite.ts";
import { fail } from "../errors.ts";

/** Most rows that one select looks at, whether they match or not: about 30 ms of the event loop. */
export const maxVisitedRows = 10_000;

/** Where a record is and what it is found by. */
export type IndexRow = {
  readonly sequence: number;
  readonly eventId: string;
  readonly offset: number;
  /** Of the frame. */
  readonly bytes: number;
  readonly treeSize: number;
  readonly appendMs: number;
  readonly leafHash: Uint8Array;
  readonly tenant: string;
  readonly action: string;
  readonly actor: string;
  readonly traceId: string;
};

/** The place of a record. */
export type Place = Pick<IndexRow, "sequence" | "offset" | "bytes" | "treeSize" | "leafHash">;

/** Equality on each field that is not empty, sequences in [from, to). */
export type Selection = {
  readonly from: number;
  readonly to: number;
  readonly tenant: string;
  readonly action: string;
  readonly actor: string;
  readonly traceId: string;
};

/** `next` is the sequence to go on from; absent if nothing is left. A page may be short or empty and still have a next. */
export type SelectedPage = { readonly places: readonly Place[]; readonly next?: number };

/** Schema of the index. */
export const migrations = [
  `CREATE TABLE records (
     sequence INTEGER PRIMARY KEY,
     event_id TEXT NOT NULL UNIQUE,
     offset INTEGER NOT NULL,
     bytes INTEGER NOT NULL,
     tree_size INTEGER NOT NULL,
     append_ms INTEGER NOT NULL,
     leaf_hash BLOB NOT NULL CHECK (length(leaf_hash) = 32),
     tenant TEXT NOT NULL,
     action TEXT NOT NULL,
     actor TEXT NOT NULL,
     trace_id TEXT NOT NULL
   ) STRICT;
   CREATE INDEX by_tenant ON records (tenant) WHERE tenant <> '';
   CREATE INDEX by_action ON records (action);
   CREATE INDEX by_actor ON records (actor) WHERE actor <> '';
   CREATE INDEX by_trace_id ON records (trace_id) WHERE trace_id <> '';
   CREATE TRIGGER records_never_change BEFORE UPDATE ON records
     BEGIN SELECT RAISE(ABORT, 'audit records never change'); END;
   CREATE TRIGGER records_never_go BEFORE DELETE ON records
     BEGIN SELECT RAISE(ABORT, 'audit records never go'); END;`,
  "CREATE INDEX by_tenant_and_action ON records (tenant, action) WHERE tenant <> ''",
] as const;

/**
 * Finds records in the log by event id, filter and time. Derived: it is filled from the log and never holds more than what the log has
 * durably, so it also knows a lower bound of what must be there. Its file is locked while it is open, which keeps a second process off the log.
 */
export class RecordIndex {
  readonly #database: DatabaseSync;
  readonly #insert: StatementSync;
  readonly #byEventId: StatementSync;
  readonly #appendMs: StatementSync;
  readonly #latest: StatementSync;
  readonly #selects = new Map<string, StatementSync>();

  /** `:memory:` is for tests. Throws LOG_IN_USE if another process has it open. */
  constructor(path: string) {
    this.#database = openLocked(path);
    this.#insert = this.#database.prepare(
      `INSERT INTO records (sequence, event_id, offset, bytes, tree_size, append_ms, leaf_hash, tenant, action, actor, trace_id)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#byEventId = this.#database.prepare(
      "SELECT sequence, offset, bytes, tree_size, leaf_hash FROM records WHERE event_id = ?",
    );
    this.#latest = this.#database.prepare(
      `SELECT * FROM records INDEXED BY by_tenant_and_action WHERE tenant = ? AND tenant <> '' AND action = ?
       ORDER BY sequence DESC LIMIT ?`,
    );
    this.#appendMs = this.#database.prepare("SELECT append_ms FROM records WHERE sequence = ?");
  }

  /** Number of records. Sequences have no gaps, so it is also the next sequence. */
  size(): number {
    const row = this.#database.prepare("SELECT max(sequence) AS last FROM records").get();
    return row === undefined || row.last === null ? 0 : Number(row.last) + 1;
  }

  /** Where the frame of the last of the first `size` records ends; `undefined` if there is no such record. */
  endOffset(size: number): number | undefined {
    const row = this.#database.prepare("SELECT offset + bytes AS end FROM records WHERE sequence = ?").get(size - 1);
    return row === undefined ? undefined : Number(row.end);
  }

  /** Leaf hashes in order of sequence. */
  *leafHashes(): Generator<Uint8Array> {
    for (const row of this.#database.prepare("SELECT leaf_hash FROM records ORDER BY sequence").iterate()) {
      yield bytesOf(row.leaf_hash);
    }
  }

  /** Adds the next rows, in one transaction. */
  add(rows: readonly IndexRow[]): void {
    transaction(this.#database, () => {
      for (const row of rows) {
        this.#insert.run(
          row.sequence,
          row.eventId,
          row.offset,
          row.bytes,
          row.treeSize,
          row.appendMs,
          row.leafHash,
          row.tenant,
          row.action,
          row.actor,
          row.traceId,
        );
      }
    });
  }

  find(eventId: string): Place | undefined {
    const row = this.#byEventId.get(eventId);
    return row === undefined ? undefined : placeOf(row);
  }

  /** First sequence that was appended at or after `ms`; `size()` if there is none. Append times never go backwards. */
  firstAppendedAtOrAfter(ms: number): number {
    let low = 0;
    let high = this.size();
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if (Number(this.#appendMs.get(middle)?.append_ms) < ms) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Up to `limit` places in order of sequence. Looks at no more than `maxVisitedRows` rows. */
  select(wanted: Selection, limit: number): SelectedPage {
    const [key, value] = mostSelective(wanted);
    const rows = this.#statement(key).iterate(...(value === "" ? [] : [value]), wanted.from, wanted.to);
    const places: Place[] = [];
    let visited = 0;
    for (const row of rows) {
      const sequence = Number(row.sequence);
      if (visited === maxVisitedRows || places.length === limit) return { places, next: sequence };
      visited += 1;
      if (matches(row, wanted)) places.push(placeOf(row));
    }
    return { places };
  }

  /** The last places of a tenant and an action, newest first. */
  latest(tenant: string, action: string, limit: number): readonly Place[] {
    return this.#latest.all(tenant, action, limit).map(placeOf);
  }

  close(): void {
    this.#database.close();
  }

  #statement(key: keyof typeof plans): StatementSync {
    const known = this.#selects.get(key);
    if (known !== undefined) return known;
    const prepared = this.#database.prepare(`${plans[key]} sequence >= ? AND sequence < ? ORDER BY sequence`);
    this.#selects.set(key, prepared);
    return prepared;
  }
}

// The index is named, so that a query's cost does not depend on what the planner guesses about the data.
const plans = {
  traceId: "SELECT * FROM records INDEXED BY by_trace_id WHERE trace_id = ? AND trace_id <> '' AND",
  tenant: "SELECT * FROM records INDEXED BY by_tenant WHERE tenant = ? AND tenant <> '' AND",
  actor: "SELECT * FROM records INDEXED BY by_actor WHERE actor = ? AND actor <> '' AND",
  action: "SELECT * FROM records INDEXED BY by_action WHERE action = ? AND",
  all: "SELECT * FROM records WHERE",
} as const;

function mostSelective(wanted: Selection): [keyof typeof plans, string] {
  for (const key of ["traceId", "tenant", "actor", "action"] as const) {
    if (wanted[key] !== "") return [key, wanted[key]];
  }
  return ["all", ""];
}

type Row = ReturnType<StatementSync["all"]>[number];

function matches(row: Row, wanted: Selection): boolean {
  return (
    (wanted.tenant === "" || row.tenant === wanted.tenant) &&
    (wanted.action === "" || row.action === wanted.action) &&
    (wanted.actor === "" || row.actor === wanted.actor) &&
    (wanted.traceId === "" || row.trace_id === wanted.traceId)
  );
}

function placeOf(row: Row): Place {
  return {
    sequence: Number(row.sequence),
    offset: Number(row.offset),
    bytes: Number(row.bytes),
    treeSize: Number(row.tree_size),
    leafHash: bytesOf(row.leaf_hash),
  };
}

function bytesOf(value: unknown): Uint8Array {
  if (value instanceof Uint8Array) return value;
  throw new TypeError("leaf_hash is not a blob");
}

function openLocked(path: string): DatabaseSync {
  let database: DatabaseSync | undefined;
  try {
    database = openDatabase(path, migrations);
    // The log is fsynced before a row is added and fills the index again after a crash, so a commit here need not wait for the disk. Recursive
    // triggers make an INSERT OR REPLACE fire the trigger that forbids removal.
    database.exec(
      "PRAGMA synchronous = NORMAL; PRAGMA recursive_triggers = ON; PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; COMMIT;",
    );
    return database;
  } catch (error) {
    database?.close();
    if (error instanceof Error && /database is locked/.test(error.message)) {
      throw fail("LOG_IN_USE", `another process has ${path} open`, { cause: error });
    }
    throw error;
  }
}
