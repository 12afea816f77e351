import { generateKeyPairSync } from "node:crypto";
import { closeSync, openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { encodeLeaf, leafHash } from "../log/canonical.ts";
import { encodeFrame, fileHeader } from "../log/frame.ts";
import { instantOf } from "../log/recovery.ts";
import { signCheckpoint } from "../tree/checkpoint.ts";
import { createMemoryHashStore, type HashStore } from "../tree/hash-store.ts";
import { MerkleTree } from "../tree/merkle-tree.ts";
import { createNoteSigner, type NoteSigner } from "../tree/signed-note.ts";
import { joinNotes } from "../witness/store.ts";
import { draft, writer } from "./test-log.ts";

/** What somebody who owns the host, its disk and even the signing key does to a log. */
export interface LogPlan {
  readonly directory: string;
  readonly records: number;
  readonly signer?: NoteSigner;
  /** A checkpoint after each so many records. */
  readonly checkpointEvery: number;
  /** Tells one history from another. */
  readonly tenant?: (sequence: number) => string;
  readonly hashes?: HashStore;
}

export interface MadeLog {
  readonly logPath: string;
  readonly notesPath: string;
  readonly signer: NoteSigner;
  readonly tree: MerkleTree;
  readonly notes: readonly string[];
  /** Bytes of record `sequence` in the file, [start, end). */
  frameAt(sequence: number): readonly [start: number, end: number];
}

/** Writes a log and the checkpoints of it, as the service would, without the service: so that every way to forge one is at hand. */
export function makeLog(plan: LogPlan): MadeLog {
  const logPath = join(plan.directory, "records.log");
  const notesPath = join(plan.directory, "checkpoints.notes");
  const signer = plan.signer ?? createNoteSigner("test/audit/host", generateKeyPairSync("ed25519").privateKey);
  const tree = new MerkleTree(plan.hashes ?? createMemoryHashStore());
  const notes: string[] = [];
  const offsets = new Float64Array(plan.records + 1);
  const file = openSync(logPath, "w");
  let offset = writeSync(file, fileHeader);
  let chunk: Buffer[] = [];
  for (let sequence = 0; sequence < plan.records; sequence += 1) {
    offsets[sequence] = offset;
    const leaf = encodeLeaf(recordAt(sequence, plan.tenant));
    const hash = leafHash(leaf);
    const frame = encodeFrame(leaf, hash, sequence);
    tree.add([hash]);
    chunk.push(frame);
    offset += frame.length;
    if ((sequence + 1) % plan.checkpointEvery === 0 || sequence + 1 === plan.records) {
      notes.push(signCheckpoint(signer, { size: tree.size, root: tree.root(), timeMs: 1_764_000_000_000 + sequence }));
      writeSync(file, Buffer.concat(chunk));
      chunk = [];
    }
  }
  offsets[plan.records] = offset;
  closeSync(file);
  writeFileSync(notesPath, joinNotes(notes));
  const frameAt = (sequence: number) => [offsets[sequence] ?? 0, offsets[sequence + 1] ?? 0] as const;
  return { logPath, notesPath, signer, tree, notes, frameAt };
}

function recordAt(sequence: number, tenant?: (sequence: number) => string) {
  const changes = { writerSequence: sequence + 1, ...(tenant === undefined ? {} : { tenant: tenant(sequence) }) };
  const appendTime = instantOf(1_764_000_000_000 + sequence);
  return { sequence, appendTime, bootId: "boot", writer, draft: draft(sequence, changes) };
}
