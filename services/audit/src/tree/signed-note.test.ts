import assert from "node:assert/strict";
import { createPrivateKey, generateKeyPairSync } from "node:crypto";
import { describe, it } from "node:test";
import { openCheckpoint, signCheckpoint } from "./checkpoint.ts";
import { emptyRoot } from "./merkle.ts";
import { createNoteSigner, formatVerifier, NoteError, openNote, parseVerifier } from "./signed-note.ts";

// RFC 8032 section 7.1, test 1: signatures of Ed25519 are deterministic, so the whole note is a vector.
const seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
const privateKey = createPrivateKey({
  key: Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), Buffer.from(seed, "hex")]),
  format: "der",
  type: "pkcs8",
});
const signer = createNoteSigner("lobsterd.test/audit/host-1", privateKey);
const verifier = parseVerifier(formatVerifier(signer.verifier));
const tree = { size: 7, root: emptyRoot, timeMs: 1_764_000_000_123 };
const note = signCheckpoint(signer, tree);

describe("a signed checkpoint", () => {
  it("has the form of a C2SP note and opens with the public key alone", () => {
    const [origin, size, root, time, blank, signature, end] = note.split("\n");
    assert.deepEqual(
      [origin, size, root, time, blank, end],
      [
        "lobsterd.test/audit/host-1",
        "7",
        "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        "time 2025-11-24T16:00:00.123Z",
        "",
        "",
      ],
    );
    assert.match(signature ?? "", /^\u2014 lobsterd\.test\/audit\/host-1 [A-Za-z0-9+/]{91}=$/);
    assert.deepEqual(openCheckpoint(note, verifier), { origin: signer.verifier.name, ...tree });
  });

  it("has the key id and signature that another implementation computes", () => {
    assert.equal(
      formatVerifier(signer.verifier),
      "lobsterd.test/audit/host-1+0a36f2eb+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea",
    );
    assert.equal(
      signer.sign("text\n"),
      "text\n\n\u2014 lobsterd.test/audit/host-1 Cjby69SEwW2ZYB+egrqYmKIXEqkur8jxw7FVDkAxyYlqW+48b948CuJ/MNXG5vzzGPRsUiClhZ9R+ShnCFysk7mE3As=\n",
    );
  });

  it("is refused with any one bit changed", () => {
    const bytes = Buffer.from(note);
    for (let bit = 0; bit < bytes.length * 8; bit += 1) {
      const changed = Buffer.from(bytes);
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      assert.throws(() => openCheckpoint(changed.toString("utf8"), verifier), NoteError, `bit ${bit}`);
    }
  });

  it("is refused from another key, also one of the same name", () => {
    const { privateKey: stranger } = generateKeyPairSync("ed25519");
    const forged = signCheckpoint(createNoteSigner(signer.verifier.name, stranger), tree);
    assert.throws(() => openCheckpoint(forged, verifier), /no signature of/);
    const elsewhere = signCheckpoint(createNoteSigner("lobsterd.test/audit/host-2", privateKey), tree);
    assert.throws(() => openCheckpoint(elsewhere, verifier), /no signature of/);
    const sameKey = parseVerifier(formatVerifier(createNoteSigner("lobsterd.test/audit/host-2", privateKey).verifier));
    assert.throws(() => openCheckpoint(note, sameKey), /no signature of/);
  });

  it("opens beside signatures of other keys, as a witness adds them", () => {
    const { privateKey: witness } = generateKeyPairSync("ed25519");
    const text = openNote(note, verifier);
    const cosignature = createNoteSigner("witness.test", witness)
      .sign(text)
      .slice(text.length + 1);
    assert.equal(openCheckpoint(note + cosignature, verifier).size, 7);
    assert.equal(openNote(`${text}\n${cosignature}${note.slice(text.length + 1)}`, verifier), text);
  });

  it("is refused without a whole tree size, root or end", () => {
    const signed = (text: string) => signer.sign(text);
    const { name } = signer.verifier;
    const root = emptyRoot.toString("base64");
    for (const text of [
      `${name}\n07\n${root}\n`,
      `${name}\n-1\n${root}\n`,
      `${name}\n7\n${root}x\n`,
      `${name}\n7\n`,
      "\n",
    ]) {
      assert.throws(() => openCheckpoint(signed(text), verifier), NoteError);
    }
    for (const broken of ["", "x", note.slice(0, -1), note.replace("\n\n", "\n"), `${"x".repeat(20_000)}${note}`]) {
      assert.throws(() => openCheckpoint(broken, verifier), NoteError);
    }
  });
});

describe("a verifier key", () => {
  it("is refused if it is none, or its parts do not belong together", () => {
    const text = formatVerifier(signer.verifier);
    for (const bad of [
      "",
      "x",
      text.slice(0, -4),
      text.replace(/\+[0-9a-f]{8}\+/, "+00000000+"),
      ` ${text}`,
      `a b${text}`,
    ]) {
      assert.throws(() => parseVerifier(bad), NoteError, bad);
    }
  });
});
