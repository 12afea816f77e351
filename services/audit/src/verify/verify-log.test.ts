import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { appendFileSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { decodeLeaf, encodeLeaf, leafHash } from "../log/canonical.ts";
import { encodeFrame, frameHeaderBytes } from "../log/frame.ts";
import { makeLog } from "../testing/forged-log.ts";
import { temporaryDirectory } from "../testing/small-disk.ts";
import { createMemoryHashStore } from "../tree/hash-store.ts";
import { MerkleTree } from "../tree/merkle-tree.ts";
import { createNoteSigner, formatVerifier } from "../tree/signed-note.ts";
import { joinNotes } from "../witness/store.ts";
import { notesNow } from "./note-files.ts";
import { verifyLog } from "./verify-log.ts";

const records = 40;

function made(context: TestContext, changes: Partial<Parameters<typeof makeLog>[0]> = {}) {
  return makeLog({ directory: temporaryDirectory(context), records, checkpointEvery: 10, ...changes });
}

type Made = ReturnType<typeof made>;

/** Runs the command as an auditor does. */
function verify({ logPath, notesPath, signer }: Made, ...more: string[]) {
  const main = new URL("main.ts", import.meta.url).pathname;
  const given = ["--log", logPath, "--checkpoints", notesPath, "--key", formatVerifier(signer.verifier), ...more];
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...given], { encoding: "utf8" });
  return { status, output: `${stdout}${stderr}` };
}

function edit({ logPath }: Made, change: (bytes: Buffer) => Buffer): void {
  writeFileSync(logPath, change(readFileSync(logPath)));
}

/** The frame of another tenant's record in place of one, with every hash and checksum in the file made to fit. */
function rewriteRecord(log: Made, sequence: number): void {
  const [start, end] = log.frameAt(sequence);
  edit(log, (bytes) => {
    const record = decodeLeaf(bytes.subarray(start + frameHeaderBytes, end));
    const leaf = encodeLeaf({ ...record, draft: { ...record.draft, tenant: "mallory" } });
    return Buffer.concat([bytes.subarray(0, start), encodeFrame(leaf, leafHash(leaf), sequence), bytes.subarray(end)]);
  });
}

describe("the verifier", () => {
  it("finds a log to be what was signed", (context) => {
    const { status, output } = verify(made(context));
    assert.match(
      output,
      /^40 records, 4 checkpoints signed by the key\nVERIFIED: the log is what was signed\nnewest checkpoint: 40 records/,
    );
    assert.equal(status, 0);
  });

  const attacks: Record<string, { attack: (log: Made) => void; says: RegExp }> = {
    "one byte changed": {
      attack: (log) =>
        edit(log, (bytes) => {
          const at = log.frameAt(17)[1] - 3;
          bytes.writeUInt8((bytes[at] ?? 0) ^ 1, at);
          return bytes;
        }),
      says: /FAULT damaged: byte \d+, where record 17 should be: leaf hash differs; .* 40 records were signed/,
    },
    "one record rewritten, with every hash of the file made to fit": {
      attack: (log) => rewriteRecord(log, 17),
      says: /FAULT rewritten: .* among records 10 to 19/,
    },
    "one record removed": {
      attack: (log) =>
        edit(log, (bytes) =>
          Buffer.concat([bytes.subarray(0, log.frameAt(17)[0]), bytes.subarray(log.frameAt(17)[1])]),
        ),
      says: /FAULT order: record 18 stands at byte \d+, where record 17 should be(.|\n)*FAULT truncated/,
    },
    "two records swapped": {
      attack: (log) =>
        edit(log, (bytes) => {
          const [[a, b], [, c]] = [log.frameAt(17), log.frameAt(18)];
          return Buffer.concat([bytes.subarray(0, a), bytes.subarray(b, c), bytes.subarray(a, b), bytes.subarray(c)]);
        }),
      says: /FAULT order: record 18 stands at byte \d+, where record 17 should be/,
    },
    "the tail cut between two records": {
      attack: (log) => truncateSync(log.logPath, log.frameAt(35)[0]),
      says: /FAULT truncated: 40 records were signed, and the log has 35/,
    },
    "the tail cut in a record": {
      attack: (log) => truncateSync(log.logPath, log.frameAt(35)[0] + 20),
      says: /FAULT damaged: .* 40 records were signed/,
    },
    "everything cut": { attack: (log) => truncateSync(log.logPath, 32), says: /FAULT truncated: 40 .* the log has 0/ },
    "no log at all": {
      attack: (log) => truncateSync(log.logPath, 0),
      says: /FAULT damaged: byte 0.* begin as an audit log/,
    },
  };
  for (const [name, { attack, says }] of Object.entries(attacks)) {
    it(`finds: ${name}`, (context) => {
      const log = made(context);
      attack(log);
      const { status, output } = verify(log);
      assert.match(output, says);
      assert.match(output, /NOT VERIFIED: the log is not what was signed/);
      assert.equal(status, 1);
    });
  }

  it("finds a whole history rewritten and signed with the real key, against the checkpoints that had left the host", (context) => {
    const first = made(context);
    const second = made(context, { signer: first.signer, tenant: () => "mallory" });
    const { status, output } = verify({ ...second, notesPath: first.notesPath });
    assert.match(output, /FAULT rewritten: .* among the first 10/);
    assert.equal(status, 1);
  });

  it("finds two histories in what the witness has, whichever of them it is shown", (context) => {
    const first = made(context);
    const tenant = (sequence: number) => (sequence < 20 ? "demo" : "mallory");
    const second = made(context, { signer: first.signer, tenant });
    writeFileSync(first.notesPath, joinNotes([...first.notes, ...second.notes]));
    for (const log of [first, { ...second, notesPath: first.notesPath }]) {
      const { status, output } = verify(log);
      assert.match(output, /FAULT fork: the key signed two histories/);
      assert.equal(status, 1);
    }
  });

  it("passes over what the key did not sign, and verifies nothing without what it did", (context) => {
    const log = made(context);
    const { privateKey } = generateKeyPairSync("ed25519");
    const stranger = made(context, {
      signer: createNoteSigner(log.signer.verifier.name, privateKey),
      tenant: () => "x",
    });
    writeFileSync(log.notesPath, `${joinNotes([...stranger.notes, ...log.notes])}\n\nrubbish\n\n\u2014 rubbish\n`);
    const good = verify(log);
    assert.match(good.output, /5 notes that it did not sign were passed over\nVERIFIED/);
    assert.equal(good.status, 0);
    writeFileSync(log.notesPath, joinNotes(stranger.notes));
    const none = verify(log);
    assert.match(none.output, /NOT VERIFIED: there is no checkpoint signed by this key/);
    assert.equal(none.status, 2);
  });

  it("takes an unfinished append after the last checkpoint for what it is", (context) => {
    const log = made(context);
    edit(log, (bytes) => Buffer.concat([bytes, bytes.subarray(log.frameAt(3)[0], log.frameAt(3)[0] + 40)]));
    const { status, output } = verify(log);
    assert.match(output, /unfinished, and covered by no checkpoint: byte \d+, where record 40 should be/);
    assert.equal(status, 0);
  });

  it("tells of records that their writers numbered and the log does not have", (context) => {
    const log = made(context);
    const { output } = verify(log, "--json");
    assert.equal(JSON.parse(output).missingFromWriters, 0);
    const gap = made(context, { records: 20 });
    const [start, end] = gap.frameAt(19);
    edit(gap, (bytes) => {
      const record = decodeLeaf(bytes.subarray(start + frameHeaderBytes, end));
      const leaf = encodeLeaf({ ...record, draft: { ...record.draft, writerSequence: 23 } });
      return Buffer.concat([bytes.subarray(0, start), encodeFrame(leaf, leafHash(leaf), 19)]);
    });
    assert.equal(JSON.parse(verify(gap, "--json").output).missingFromWriters, 3);
  });

  it("takes a checkpoint that is signed while the log is being read for no cut", async (context) => {
    const { logPath, notesPath, signer } = made(context);
    const longer = made(context, { signer, records: records + 10 });
    const notes = notesNow([notesPath]);
    appendFileSync(notesPath, joinNotes(longer.notes.slice(-1)));
    const tree = () => new MerkleTree(createMemoryHashStore());
    const verdict = await verifyLog({ logPath, notes, verifier: signer.verifier, tree: tree() });
    assert.deepEqual(verdict.faults, []);
    assert.equal(verdict.newest?.size, records);
    const later = await verifyLog({ logPath, notes: notesNow([notesPath]), verifier: signer.verifier, tree: tree() });
    assert.deepEqual(
      later.faults.map(({ kind }) => kind),
      ["truncated"],
    );
  });

  it("says how to use it, and what it could not read", (context) => {
    const log = made(context);
    const main = new URL("main.ts", import.meta.url).pathname;
    assert.match(
      execFileSync(process.execPath, [main, "--help"], { encoding: "utf8" }),
      /usage: .*\n(.|\n)*Exit status/,
    );
    assert.equal(spawnSync(process.execPath, [main]).status, 2);
    assert.equal(verify({ ...log, logPath: join(log.logPath, "x") }).status, 2);
    const { status, output } = verify(log, "--key", "not-a-key+00000000+AAAA");
    assert.match(output, /not verified: not an Ed25519 verifier key/);
    assert.equal(status, 2);
  });

  it("needs no package: neither it nor what it imports reaches outside of this directory and Node", () => {
    const seen = new Set<string>();
    const visit = (url: URL): void => {
      if (seen.has(url.pathname)) return;
      seen.add(url.pathname);
      for (const [, specifier = ""] of readFileSync(url, "utf8").matchAll(/^(?:import|export) .*?from "([^"]+)";/gms)) {
        if (specifier.startsWith("node:")) continue;
        assert.ok(specifier.startsWith("."), `${url.pathname} imports ${specifier}`);
        visit(new URL(specifier, url));
      }
    };
    visit(new URL("main.ts", import.meta.url));
    assert.ok(seen.size > 8);
    assert.ok(
      ![...seen].some((path) => path.endsWith("audit-log.ts")),
      "the verifier shares only pure code with the service",
    );
  });
});
