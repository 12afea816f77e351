import assert from "node:assert/strict";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { openDatabase, transaction, transactionWithoutSync } from "./sqlite.ts";

const first = "CREATE TABLE a (id INTEGER PRIMARY KEY) STRICT";
const second = "CREATE TABLE b (id INTEGER PRIMARY KEY, a INTEGER REFERENCES a (id)) STRICT";

test("the file is private, durable and migrated step by step", (t) => {
  const directory = mkdtempSync(join(tmpdir(), "lobsterd-sqlite-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, "store.sqlite");
  openDatabase(path, [first]).close();
  const database = openDatabase(path, [first, second]);
  database.exec("INSERT INTO a VALUES (1); INSERT INTO b VALUES (1, 1)");
  assert.equal(database.prepare("PRAGMA synchronous").get()?.synchronous, 2);
  assert.equal(database.prepare("PRAGMA journal_mode").get()?.journal_mode, "wal");
  assert.throws(() => database.exec("INSERT INTO b VALUES (2, 99)"), /FOREIGN KEY/);
  for (const suffix of ["", "-wal", "-shm"]) assert.equal(statSync(path + suffix).mode & 0o777, 0o600, suffix);
  database.close();
  assert.throws(() => openDatabase(path, [first]), /version 2, this program knows 1/);
});

test("the log has its length before the first commit, and nothing of what gave it that is in the store", (t) => {
  const directory = mkdtempSync(join(tmpdir(), "lobsterd-sqlite-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, "store.sqlite");
  const database = openDatabase(path, [first]);
  t.after(() => database.close());
  const { size } = statSync(`${path}-wal`);
  for (let id = 0; id < 100; id++) database.exec(`INSERT INTO a VALUES (${id})`);
  assert.equal(statSync(`${path}-wal`).size, size);
  assert.ok(size > 1000 * 4096);
  database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  assert.ok(statSync(path).size < 64 * 1024);
  assert.deepEqual(
    database
      .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")
      .all()
      .map(({ name }) => name),
    ["a"],
  );
});

test("a failed migration leaves the version before it", () => {
  assert.throws(() => openDatabase(":memory:", [first, "CREATE TABLE c (id INTEGER); BROKEN"]), /syntax/);
});

test("a transaction is all or nothing", () => {
  const database = openDatabase(":memory:", [first]);
  const count = () => database.prepare("SELECT count(*) AS n FROM a").get()?.n;
  const insert = (id: number) => database.prepare("INSERT INTO a VALUES (?)").run(id);
  assert.throws(() =>
    transaction(database, () => {
      insert(1);
      transaction(database, () => insert(2));
      throw new Error("stop");
    }),
  );
  assert.equal(count(), 0);
  assert.throws(() => transaction(database, async () => void insert(3)), /synchronous/);
  assert.equal(count(), 0);
  assert.equal(
    transaction(database, () => insert(4).changes),
    1,
  );
  assert.equal(count(), 1);
});

test("after a transaction that does not wait for the disk, the others wait again", () => {
  const database = openDatabase(":memory:", [first]);
  const synchronous = () => database.prepare("PRAGMA synchronous").get()?.synchronous;
  transactionWithoutSync(database, () => {
    assert.equal(synchronous(), 1);
    database.exec("INSERT INTO a VALUES (1)");
  });
  assert.equal(synchronous(), 2);
  const stop = () => {
    throw new Error("stop");
  };
  assert.throws(() => transactionWithoutSync(database, stop), /stop/);
  assert.equal(synchronous(), 2);
  assert.throws(() => transaction(database, () => transactionWithoutSync(database, stop)), /waits for the disk/);
  assert.equal(database.prepare("SELECT count(*) AS n FROM a").get()?.n, 1);
});
