/** REL-5 and AUD-03 at size: a log of 1,000,000 records, its proofs, and what the verifier finds in it, in a bounded amount of memory. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  closeSync,
  copyFileSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { leafHash } from "../log/canonical.ts";
import { parseFrame } from "../log/frame.ts";
import { type MadeLog, makeLog } from "../testing/forged-log.ts";
import { temporaryDirectory } from "../testing/small-disk.ts";
import { seededRandom } from "../testing/test-log.ts";
import { createHashFile } from "../tree/hash-store.ts";
import { verifyConsistency, verifyInclusion } from "../tree/proofs.ts";
import { formatVerifier } from "../tree/signed-note.ts";
import { joinNotes } from "../witness/store.ts";

const records = 1_000_000;
const maxHeapMib = 64;
const random = seededRandom(Date.now());
const below = (limit: number) => Math.floor(random() * limit);

function plant(context: TestContext, changes: Partial<Parameters<typeof makeLog>[0]> = {}): MadeLog {
  const directory = temporaryDirectory(context);
  const hashes = createHashFile(join(directory, "tree.hashes"));
  return makeLog({ directory, records, checkpointEvery: 1000, hashes, ...changes });
}

function verify({ logPath, notesPath, signer }: MadeLog) {
  const main = new URL("main.ts", import.meta.url).pathname;
  const given = ["--log", logPath, "--checkpoints", notesPath, "--key", formatVerifier(signer.verifier)];
  const startMs = performance.now();
  const run = spawnSync(process.execPath, [`--max-old-space-size=${maxHeapMib}`, main, ...given], { encoding: "utf8" });
  const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
  return { status: run.status, output: `${run.stdout}${run.stderr}`, seconds };
}

function readFrame(log: MadeLog, sequence: number): Buffer {
  const [start, end] = log.frameAt(sequence);
  const bytes = Buffer.alloc(end - start);
  const file = openSync(log.logPath, "r");
  readSync(file, bytes, 0, bytes.length, start);
  closeSync(file);
  return bytes;
}

/** Runs `attack` on the log, has the verifier find it, and puts the log back as it was. */
function finds(log: MadeLog, context: TestContext, what: string, attack: () => void, says: RegExp): void {
  const [saved, savedNotes] = [`${log.logPath}.saved`, readFileSync(log.notesPath)];
  copyFileSync(log.logPath, saved);
  attack();
  const { status, output, seconds } = verify(log);
  assert.equal(status, 1, `${what}: ${output}`);
  assert.match(output, says, what);
  context.diagnostic(`${what}: found in ${seconds} s: ${output.split("\n").find((line) => line.startsWith("FAULT"))}`);
  copyFileSync(saved, log.logPath);
  writeFileSync(log.notesPath, savedNotes);
}

function write(log: MadeLog, bytes: Uint8Array, offset: number): void {
  const file = openSync(log.logPath, "r+");
  for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done, bytes.length - done, offset + done);
  closeSync(file);
}

describe(`a log of ${records} records`, () => {
  it("has proofs that verify, is verified, and every forgery of it is found", (context) => {
    const log = plant(context);
    const { tree } = log;
    const root = tree.root();
    for (let sample = 0; sample < 2000; sample += 1) {
      const sequence = below(records);
      const parsed = parseFrame(readFrame(log, sequence));
      assert.ok(parsed.kind === "frame");
      const proof = tree.inclusionProof(sequence, records);
      assert.ok(verifyInclusion({ leafHash: leafHash(parsed.frame.leaf), sequence, size: records, root, proof }));
      const oldSize = 1 + below(records);
      const oldRoot = tree.rootAt(oldSize);
      const consistency = tree.consistencyProof(oldSize, records);
      assert.ok(verifyConsistency({ oldSize, newSize: records, oldRoot, newRoot: root, proof: consistency }));
    }
    const whole = verify(log);
    assert.equal(whole.status, 0, whole.output);
    context.diagnostic(
      `${statSync(log.logPath).size} bytes verified in ${whole.seconds} s with a heap of ${maxHeapMib} MiB`,
    );

    const at = 1000 + below(records - 2000);
    const [start, end] = log.frameAt(at);
    const next = log.frameAt(at + 1)[1];
    finds(
      log,
      context,
      "one byte changed",
      () => {
        const bytes = readFrame(log, at);
        const byte = below(bytes.length);
        bytes.writeUInt8((bytes[byte] ?? 0) ^ (1 << below(8)), byte);
        write(log, bytes, start);
      },
      /FAULT damaged/,
    );
    finds(
      log,
      context,
      "one record removed",
      () => {
        const rest = readFileSync(log.logPath).subarray(end);
        truncateSync(log.logPath, start);
        write(log, rest, start);
      },
      /FAULT order(.|\n)*FAULT truncated/,
    );
    finds(
      log,
      context,
      "two records swapped",
      () => {
        write(log, Buffer.concat([readFrame(log, at + 1), readFrame(log, at)]).subarray(0, next - start), start);
      },
      /FAULT order/,
    );
    finds(
      log,
      context,
      "tail cut",
      () => truncateSync(log.logPath, log.frameAt(records - 1 - below(1000))[0]),
      /FAULT truncated/,
    );
    finds(
      log,
      context,
      "two histories",
      () => {
        const tenant = (sequence: number) => (sequence < records / 2 ? "demo" : "mallory");
        const other = plant(context, { signer: log.signer, tenant, records: records / 2 + 2000 });
        writeFileSync(log.notesPath, joinNotes([...log.notes, ...other.notes]));
      },
      /FAULT fork/,
    );
  });
});
