import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { finished } from "node:stream/promises";
import { after, test } from "node:test";
import { openSleepFiles, requireTmpfs } from "./sleep-files.ts";

const directory = mkdtempSync("/dev/shm/lobsterd-sleep-files-");
after(() => rmSync(directory, { recursive: true }));
const [sealedDir, spoolDir] = [join(directory, "sealed"), join(directory, "spool")];
const files = openSleepFiles(sealedDir, spoolDir);
const [one, other] = ["1".repeat(32), "2".repeat(32)];
const { signal } = new AbortController();

test("directories and spool files are this service's alone, and a spool that was there is overwritten", async () => {
  for (const path of [sealedDir, spoolDir]) assert.equal(statSync(path).mode & 0o777, 0o700);
  for (const text of ["longer", "short"]) await finished(files.writeSpool(one, signal).end(text));
  const path = join(spoolDir, `${one}.state`);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.equal(readFileSync(path, "utf8"), "short");
  await files.dropSpool(one);
  await files.dropSpool(one);
  assert.deepEqual(readdirSync(spoolDir), []);
});

test("what sealed files take is counted, those that are being written included, and a spool is not", async () => {
  assert.equal(await files.sealedBytes(), 0);
  const page = 4096;
  writeFileSync(join(sealedDir, `${one}-1.sealed`), Buffer.alloc(10 * page));
  writeFileSync(join(sealedDir, `${one}-2.sealed.partial`), Buffer.alloc(5 * page));
  await finished(files.writeSpool(one, signal).end(Buffer.alloc(page)));
  assert.equal(await files.sealedBytes(), 15 * page);
  await files.remove(one);
  assert.equal(await files.sealedBytes(), 0);
});

test("one microVM's files are removed and another's stay, and a sweep leaves what is wanted", async () => {
  for (const name of [`${one}-1.sealed`, `${one}-2.sealed.partial`, `${other}-1.sealed`, "stray"])
    writeFileSync(join(sealedDir, name), "x");
  await finished(files.writeSpool(one, signal).end("x"));
  await files.remove(one);
  await files.remove(one);
  assert.deepEqual(readdirSync(sealedDir).sort(), [`${other}-1.sealed`, "stray"]);
  assert.deepEqual(readdirSync(spoolDir), []);
  await files.sweep(({ vmId, name }) => vmId === other && name === `${other}-1.sealed`);
  assert.deepEqual(readdirSync(sealedDir), [`${other}-1.sealed`]);
});

test("a spool that is aborted breaks", async () => {
  const abort = new AbortController();
  const sink = files.writeSpool(one, abort.signal);
  abort.abort();
  await assert.rejects(finished(sink));
});

test("a spool that is on no tmpfs is refused", () => {
  requireTmpfs("/dev/shm");
  assert.throws(() => requireTmpfs("/proc"), /not on a tmpfs/);
});
