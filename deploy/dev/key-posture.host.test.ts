import assert from "node:assert/strict";
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { writePrivate } from "./files.ts";
import { requireClosedKey } from "./key-posture.ts";

const skip = process.getuid?.() !== 0 && "needs root";
const readerGid = 63_101;

describe("a key that a group reads", { skip }, () => {
  let root: string;
  let directory: string;
  let key: string;
  beforeEach(() => {
    root = mkdtempSync("/run/lobsterd-key-");
    directory = join(root, "web");
    key = join(directory, "key.pem");
    mkdirSync(directory, { mode: 0o750 });
    chownSync(directory, 0, readerGid);
    writePrivate(key, "key", { uid: 0, gid: readerGid }, 0o640);
  });
  afterEach(() => rmSync(root, { recursive: true }));

  test("is taken as it is written", () => requireClosedKey(key, readerGid));

  const wrong: Readonly<Record<string, () => void>> = {
    "is readable by all": () => chmodSync(key, 0o644),
    "is writable by its group": () => chmodSync(key, 0o660),
    "belongs to its reader": () => chownSync(key, readerGid, readerGid),
    "belongs to another group": () => chownSync(key, 0, readerGid + 1),
    "lies in a directory of its reader": () => chownSync(directory, readerGid, readerGid),
    "lies in a directory that a group can write": () => chmodSync(directory, 0o770),
    "lies below a directory that all can write": () => chmodSync(root, 0o777),
    "is a link": () => {
      rmSync(key);
      symlinkSync("/etc/hostname", key);
    },
    "is a directory": () => {
      rmSync(key);
      mkdirSync(key, { mode: 0o640 });
      chownSync(key, 0, readerGid);
    },
    "is not there": () => rmSync(key),
  };
  for (const [what, change] of Object.entries(wrong)) {
    test(`is refused if it ${what}`, () => {
      change();
      assert.throws(() => requireClosedKey(key, readerGid), new RegExp(key));
    });
  }
});
