import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openDatabase, transaction } from "@lobsterd/chassis/sqlite.ts";
import { uuidv7 } from "uuidv7";
import { draft, openTestLog, writer } from "../testing/test-log.ts";
import { createHashFile } from "../tree/hash-store.ts";
import { MerkleTree } from "../tree/merkle-tree.ts";
import { createNoteSigner } from "../tree/signed-note.ts";
import { encodeLeaf, leafHash } from "./canonical.ts";
import { type Checkpointer, createCheckpointer } from "./checkpointer.ts";
import { openFileOnDisk } from "./file-on-disk.ts";
import { migrations, RecordIndex } from "./record-index.ts";

export const writers = 64;
const rounds = 5;
const roundMs = 1500;

/** As the service runs it: index, tree and signed checkpoints included. Appends per second of 64 concurrent writers, and how long each waited. */
async function measureLog(directory: string): Promise<{ perSecond: number; waitsMs: number[] }> {
  const index = new RecordIndex(join(directory, "index.sqlite"));
  const tree = new MerkleTree(createHashFile(join(directory, "tree.hashes")));
  const signer = createNoteSigner("bench/audit/host", generateKeyPairSync("ed25519").privateKey);
  let checkpointer: Checkpointer | undefined;
  const opened = await openTestLog(await openFileOnDisk(join(directory, "records.log")), {
    ...{ index, tree, now: Date.now },
    grew: () => checkpointer?.grew(),
  });
  const { log } = opened;
  checkpointer = createCheckpointer({
    ...{ tree: () => log.tree(), signer, now: Date.now, last: undefined },
    signed: () => undefined,
  });
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

/** Both rates of one round after the other, so that a busy machine slows both down, and how long each append of the log waited. */
export interface AppendFigures {
  readonly logPerSecond: readonly number[];
  readonly commitPerSecond: readonly number[];
  readonly waitsMs: readonly number[];
}

/** Measures on the file system of the temporary directory. */
export async function measureAppends(): Promise<AppendFigures> {
  const logPerSecond: number[] = [];
  const commitPerSecond: number[] = [];
  const waitsMs: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const directory = mkdtempSync(join(tmpdir(), "lobsterd-audit-bench-"));
    try {
      commitPerSecond.push(measureCommitPerRecord(directory));
      const measured = await measureLog(directory);
      logPerSecond.push(measured.perSecond);
      for (const wait of measured.waitsMs) waitsMs.push(wait);
    } finally {
      rmSync(directory, { recursive: true });
    }
  }
  return { logPerSecond, commitPerSecond, waitsMs };
}
