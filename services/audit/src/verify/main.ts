/**
 * Verifies an audit log with nothing but the public key of its checkpoints and the checkpoints that a witness kept. It asks no service, and needs
 * no package: only this checkout and Node 24.
 */
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { createHashFile } from "../tree/hash-store.ts";
import { MerkleTree } from "../tree/merkle-tree.ts";
import { parseVerifier } from "../tree/signed-note.ts";
import { notesNow } from "./note-files.ts";
import { describeVerdict, verdictJson } from "./report.ts";
import { verifyLog } from "./verify-log.ts";

const usage = `usage: main.ts --log PATH --key VERIFIER --checkpoints PATH...

  --log PATH          records.log, a directory with it, or a file that ExportRecords filled
  --key VERIFIER      verifier key of the log, NAME+ID+KEY, or a file with it; get it from whoever installed the host, not from the host
  --checkpoints PATH  file of signed notes, or a directory of .notes files, as the witness kept them; may be given several times
  --json              print the verdict as JSON
  --help              print this

Needs free space in the temporary directory (TMPDIR): 64 bytes for each record. Reads only; memory does not grow with the log.
Exit status: 0 the log is what was signed; 1 it is not; 2 it could not be verified.
`;

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      log: { type: "string" },
      key: { type: "string" },
      checkpoints: { type: "string", multiple: true, default: [] },
      json: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(usage);
    return 0;
  }
  if (values.log === undefined || values.key === undefined || values.checkpoints.length === 0) {
    process.stderr.write(usage);
    return 2;
  }
  const verifier = parseVerifier(keyText(values.key));
  // Taken before the log is read, which may grow, and be signed further, meanwhile.
  const notes = notesNow(values.checkpoints);
  const work = mkdtempSync(join(tmpdir(), "lobsterd-verify-"));
  const tree = new MerkleTree(createHashFile(join(work, "tree.hashes")));
  try {
    const verdict = await verifyLog({ logPath: logFile(values.log), notes, verifier, tree });
    process.stdout.write(values.json ? `${verdictJson(verdict)}\n` : describeVerdict(verdict));
    if (verdict.faults.length > 0) return 1;
    return verdict.newest === undefined ? 2 : 0;
  } finally {
    tree.close();
    rmSync(work, { recursive: true });
  }
}

function keyText(given: string): string {
  return /^[^+\s]+\+[0-9a-f]{8}\+/.test(given) ? given : readFileSync(given, "utf8").trim();
}

function logFile(path: string): string {
  return statSync(path).isDirectory() ? join(path, "records.log") : path;
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`not verified: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 2;
}
