import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { describe, it } from "node:test";
import { everything } from "../testing/test-log.ts";
import { type IndexRow, maxVisitedRows, migrations, RecordIndex } from "./record-index.ts";

function row(sequence: number, changes: Partial<IndexRow> = {}): IndexRow {
  return {
    ...{ sequence, eventId: `event-${sequence}`, offset: sequence * 100, bytes: 100, treeSize: sequence + 1 },
    ...{ appendMs: sequence * 10, leafHash: Buffer.alloc(32, sequence), traceId: "" },
    ...{ tenant: "demo", action: "SpawnTenant", actor: "" },
    ...changes,
  };
}

describe("records in the index", () => {
  const statements = [
    "DELETE FROM records",
    "DELETE FROM records WHERE sequence = 0",
    "UPDATE records SET tenant = 'other'",
    "UPDATE records SET sequence = 7 WHERE sequence = 0",
    "INSERT OR REPLACE INTO records SELECT * FROM records",
  ];
  for (const statement of statements) {
    it(`are kept by the database itself against: ${statement}`, () => {
      const database = new DatabaseSync(":memory:");
      database.exec(`${migrations[0]}; PRAGMA recursive_triggers = ON;`);
      database.exec(
        `INSERT INTO records VALUES (0, 'e', 0, 1, 1, 0, x'${"00".repeat(32)}', 'demo', 'SpawnTenant', '', '')`,
      );
      assert.throws(() => database.exec(statement), /audit records never (change|go)/);
      assert.equal(database.prepare("SELECT count(*) AS n FROM records WHERE tenant = 'demo'").get()?.n, 1);
    });
  }

  it("are not changed or removed by any statement in this service", () => {
    const source = new URL("../", import.meta.url);
    const files = readdirSync(source, { recursive: true, encoding: "utf8" }).filter(
      (name) => name.endsWith(".ts") && !/^(testing|verify)\/|\.(test|bench)\.ts$/.test(name),
    );
    assert.ok(files.length > 15, "sources were not found");
    for (const name of files) {
      const text = readFileSync(new URL(name, source), "utf8");
      assert.doesNotMatch(
        text,
        /\bDELETE\s+FROM\b|\bUPDATE\s+\w+\s+SET\b|\bREPLACE\s+INTO\b|\bOR\s+REPLACE\s+INTO\b/i,
        name,
      );
      assert.doesNotMatch(text, /\bDROP\s+(TABLE|TRIGGER)\b|\bunlink(Sync)?\(|\brm(Sync)?\(/i, name);
    }
  });

  it("have one event id each, and no gap", () => {
    const index = new RecordIndex(":memory:");
    index.add([row(0)]);
    assert.throws(() => index.add([row(1), row(2, { eventId: "event-0" })]), /UNIQUE/);
    assert.equal(index.size(), 1, "a batch is added whole or not at all");
    index.close();
  });
});

describe("select", () => {
  it("looks at a bounded number of rows and says where to go on", () => {
    const index = new RecordIndex(":memory:");
    const count = maxVisitedRows * 2 + 10;
    const rare = count - 1;
    index.add(
      Array.from({ length: count }, (_, sequence) =>
        row(sequence, sequence === rare ? { action: "EvictTenant", tenant: "demo" } : {}),
      ),
    );
    const wanted = { ...everything, tenant: "demo", action: "EvictTenant", to: count };
    const pages: number[][] = [];
    for (let from: number | undefined = 0; from !== undefined; ) {
      const page = index.select({ ...wanted, from }, 50);
      pages.push(page.places.map(({ sequence }) => sequence));
      from = page.next;
    }
    assert.deepEqual(pages, [[], [], [rare]]);
    index.close();
  });

  it("finds the first record at or after a time", () => {
    const index = new RecordIndex(":memory:");
    assert.equal(index.firstAppendedAtOrAfter(0), 0);
    index.add([0, 1, 2, 3].map((sequence) => row(sequence, { appendMs: [10, 20, 20, 30][sequence] ?? 0 })));
    const found = [0, 10, 11, 20, 21, 30, 31].map((ms) => index.firstAppendedAtOrAfter(ms));
    assert.deepEqual(found, [0, 0, 1, 1, 3, 3, 4]);
    index.close();
  });
});
