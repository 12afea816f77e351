import { chmodSync, closeSync, constants, openSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";

/** What SQLite lets its log grow to before it begins again at its start. */
const logBytes = 4 * 1024 * 1024;

/**
 * Opens a service's own store and brings it to `migrations.length` (migration `n` is the SQL from version `n` to `n + 1`;
 * each runs in one transaction with its version). What a committed transaction wrote survives a power loss: WAL with
 * `synchronous=FULL`. The file and its companions are 0600. `:memory:` is for tests.
 *
 * Throws if the file is newer than this program.
 */
export function openDatabase(path: string, migrations: readonly string[]): DatabaseSync {
  if (path !== ":memory:") {
    // SQLite gives -wal and -shm the mode of the main file, so the mode has to be right before SQLite opens it.
    closeSync(openSync(path, constants.O_CREAT | constants.O_RDWR | constants.O_NOFOLLOW, 0o600));
    chmodSync(path, 0o600);
  }
  const database = new DatabaseSync(path, { enableForeignKeyConstraints: true, timeout: 5000 });
  try {
    database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF;");
    migrate(database, migrations);
    if (path !== ":memory:") fillLog(database);
  } catch (error) {
    database.close();
    throw error;
  }
  return database;
}

/**
 * Runs `fn` in one write transaction: all of it is durable on return, none of it after a throw. Inside another
 * `transaction` it joins that one. `fn` is synchronous: a transaction open across an `await` would take in other requests' writes.
 */
export function transaction<T>(database: DatabaseSync, fn: () => T): T {
  if (database.isTransaction) return fn();
  database.exec("BEGIN IMMEDIATE");
  let result: T;
  try {
    result = fn();
    if (result instanceof Promise) throw new TypeError("a transaction's function must be synchronous");
    database.exec("COMMIT");
  } catch (error) {
    // A failed COMMIT (disk full) may have ended the transaction by itself.
    if (database.isTransaction) database.exec("ROLLBACK");
    throw error;
  }
  return result;
}

/**
 * A write transaction that outlives the process but not for certain a power loss: it saves the wait for the disk, most of the time of a
 * small one. The store is whole after a power loss, and lacks at most the last of such transactions.
 */
export function transactionWithoutSync(database: DatabaseSync, fn: () => void): void {
  if (database.isTransaction) throw new Error("the transaction that it would join waits for the disk");
  database.exec("PRAGMA synchronous = NORMAL");
  try {
    transaction(database, fn);
  } finally {
    database.exec("PRAGMA synchronous = FULL");
  }
}

/**
 * Gives the write-ahead log the length that it would come to have. A commit that makes a file longer waits for the file system's journal, and in
 * that for whatever else the machine writes; one that writes over what is there waits for its own bytes: half of the time on a disk that nobody
 * else uses, and less on one that others do.
 */
function fillLog(database: DatabaseSync): void {
  // What does not fit into the cache is written to the log before it is known that it will be rolled back.
  database.exec("PRAGMA cache_spill = 1; PRAGMA cache_size = 1");
  try {
    database.exec("BEGIN IMMEDIATE; CREATE TABLE filler (bytes BLOB)");
    database.prepare("INSERT INTO filler VALUES (zeroblob(?))").run(logBytes);
  } catch {
    // A disk without room for it may have room for what there is to write.
  } finally {
    if (database.isTransaction) database.exec("ROLLBACK");
    database.exec("PRAGMA cache_spill = ON; PRAGMA cache_size = -2000");
  }
}

function migrate(database: DatabaseSync, migrations: readonly string[]): void {
  const row = database.prepare("PRAGMA user_version").get();
  const version = Number(row?.user_version ?? 0);
  if (version > migrations.length) {
    throw new Error(`database has version ${version}, this program knows ${migrations.length}`);
  }
  for (const [index, sql] of migrations.entries()) {
    if (index < version) continue;
    transaction(database, () => database.exec(`${sql};\nPRAGMA user_version = ${index + 1}`));
  }
}
