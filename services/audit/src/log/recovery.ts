import { fail } from "../errors.ts";
import type { MerkleTree } from "../tree/merkle-tree.ts";
import { decodeLeaf, type Instant, type LogRecord } from "./canonical.ts";
import type { LogFile } from "./log-file.ts";
import type { IndexRow, RecordIndex } from "./record-index.ts";
import { type PlacedFrame, type ScanResult, scanLog } from "./scan.ts";

const rowsPerTransaction = 1000;

/** Where a run of the process starts from. */
export type Recovered = ScanResult & { readonly lastAppendMs: number };

/**
 * Makes file and index agree and everything in them durable, before the first append: verifies the whole log, refuses it if it is damaged or
 * holds less than the index knows to be durable, cuts a torn tail, indexes what the index lacks, and builds the tree.
 *
 * Throws LOG_DAMAGED or INDEX_MISMATCH.
 */
export async function recoverLog(file: LogFile, index: RecordIndex, tree: MerkleTree): Promise<Recovered> {
  const indexed = index.size();
  const known = index.leafHashes();
  let last: PlacedFrame | undefined;
  let missing: IndexRow[] = [];
  const scan = await scanLog(file, (frames) => {
    const treeSize = (frames[0]?.sequence ?? 0) + frames.length;
    for (const frame of frames) {
      last = frame;
      if (frame.sequence < indexed) requireSame(frame, known.next().value);
      else missing.push(rowOf(decodeLeaf(frame.leaf), { ...frame, treeSize }));
    }
    tree.add(frames.map((frame) => frame.leafHash));
    if (missing.length >= rowsPerTransaction) {
      index.add(missing);
      missing = [];
    }
  });
  known.return(undefined);
  if (scan.records < indexed) {
    throw fail(
      "LOG_DAMAGED",
      `log ends after record ${scan.records - 1}, but record ${indexed - 1} was durable: its end was lost or cut`,
      { metadata: { records: String(scan.records), indexed: String(indexed) } },
    );
  }
  if (scan.tornBytes > 0) await file.truncate(scan.goodBytes);
  // After kill -9 the last records may be in the page cache only. They count as appended from here on, so they are made durable first.
  await file.sync();
  index.add(missing);
  return { ...scan, lastAppendMs: last === undefined ? 0 : millisecondsOf(decodeLeaf(last.leaf).appendTime) };
}

/** The index row of a record. */
export function rowOf(
  record: LogRecord,
  place: { offset: number; bytes: number; treeSize: number; leafHash: Uint8Array },
): IndexRow {
  return {
    sequence: record.sequence,
    eventId: record.draft.eventId,
    offset: place.offset,
    bytes: place.bytes,
    treeSize: place.treeSize,
    leafHash: place.leafHash,
    appendMs: millisecondsOf(record.appendTime),
    tenant: record.draft.tenant,
    action: record.draft.action,
    actor: record.draft.actor,
    traceId: record.draft.traceId,
  };
}

export function instantOf(ms: number): Instant {
  const seconds = Math.floor(ms / 1000);
  return { seconds: BigInt(seconds), nanos: (ms - seconds * 1000) * 1_000_000 };
}

function millisecondsOf(instant: Instant): number {
  return Number(instant.seconds) * 1000 + Math.floor(instant.nanos / 1_000_000);
}

function requireSame(frame: PlacedFrame, known: unknown): void {
  if (known instanceof Uint8Array && frame.leafHash.equals(known)) return;
  throw fail("INDEX_MISMATCH", `record ${frame.sequence} in the log is not the one that the index knows`, {
    metadata: { sequence: String(frame.sequence) },
  });
}
