import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openDatabase, transaction } from "@lobsterd/chassis/sqlite.ts";
import { uuidv7 } from "uuidv7";
import { draft, openTestLog, writer } from "../testing/test-log.ts";
import { encodeLeaf, leafHash } from "./canonical.ts";
import { openFileOnDisk } from "./file-on-disk.ts";
import { migrations, RecordIndex } from "./record-index.ts";

const writers = 64;
const rounds = 5;
const roundMs = 1500;

/** Appends per second of 64 concurrent writers, and how long each waited. */
async function measureLog(directory: string): Promise<{ perSecond: number; waitsMs: number[] }> {
  const index = new RecordIndex(join(directory, "index.sqlite"));
  const { log } = await openTestLog(await openFileOnDisk(join(directory, "records.log")), { index, now: Date.now });
  const waitsMs: number[] = [];
  const start = performance.now();
  let number = 0;
  await Promise.all(
    Array.from({ length: writers }, async () => {
      for (let before = start; before - start < roundMs; ) {
        number += 1;
        await log.append(draft(number, { eventId: uuidv7() }), writer);
        const after = performance.now();
        waitsMs.push(after - before);
        before = after;
      }
    }),
  );
  await log.close();
  return { perSecond: waitsMs.length / ((performance.now() - start) / 1000), waitsMs };
}

/** The same records, encoded and hashed alike, in a bare loop that commits each one to the same table with `synchronous=FULL`. */
function measureCommitPerRecord(directory: string): number {
  const database = openDatabase(join(directory, "baseline.sqlite"), migrations);
  const insert = database.prepare("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
  const start = performance.now();
  let number = 0;
  for (; performance.now() - start < roundMs; number += 1) {
    const one = draft(number, { eventId: uuidv7() });
    const appendTime = { seconds: BigInt(Math.floor(Date.now() / 1000)), nanos: 0 };
    const leaf = encodeLeaf({ sequence: number, appendTime, bootId: "boot", writer, draft: one });
    const { eventId, tenant, action, actor, traceId } = one;
    const row = [
      number,
      eventId,
      0,
      1,
      number + 1,
      Date.now(),
      leafHash(leaf),
      tenant,
      action,
      actor,
      traceId,
    ] as const;
    transaction(database, () => insert.run(...row));
  }
  const perSecond = number / ((performance.now() - start) / 1000);
  database.close();
  return perSecond;
}

const logRates: number[] = [];
const commitRates: number[] = [];
const waitsMs: number[] = [];
for (let round = 0; round < rounds; round += 1) {
  const directory = mkdtempSync(join(tmpdir(), "lobsterd-audit-bench-"));
  try {
    commitRates.push(measureCommitPerRecord(directory));
    const measured = await measureLog(directory);
    logRates.push(measured.perSecond);
    for (const wait of measured.waitsMs) waitsMs.push(wait);
  } finally {
    rmSync(directory, { recursive: true });
  }
}
waitsMs.sort((one, other) => one - other);
const median = (values: number[]) => values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)] ?? 0;
const quantile = (share: number) => (waitsMs[Math.floor(waitsMs.length * share)] ?? 0).toFixed(2);
const [log, commit] = [median(logRates), median(commitRates)];
console.log(
  `audit log, ${writers} writers   ${Math.round(log)} appends/s, p50 ${quantile(0.5)} ms, p99 ${quantile(0.99)} ms`,
);
console.log(`commit per record       ${Math.round(commit)} appends/s`);
console.log(`ratio                   ${(log / commit).toFixed(1)}`);
