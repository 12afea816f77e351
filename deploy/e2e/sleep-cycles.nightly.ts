import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { type Sleeper, spawnSleeper } from "./sleep/sleeper.ts";
import { copyDiskOf, openDisk } from "./sleep/tenant-disk.ts";
import { evict } from "./subject.ts";

const name = "tireless";
const cycles = Number.parseInt(process.env["SLEEP_CYCLES"] ?? "200", 10);
let sleeper: Sleeper;

before(async () => {
  sleeper = await spawnSleeper(name);
});

after(() => evict(name));

/** The guest's clock, in ms since the epoch, and how far it is from the host's at the least. */
async function clockError(): Promise<number> {
  const startMs = Date.now();
  const { stdout } = await sleeper.post<{ stdout: string }>("/run", { command: ["/usr/bin/date", "+%s.%N"] });
  const guestMs = Number.parseFloat(stdout) * 1000;
  return Math.max(0, startMs - guestMs, guestMs - Date.now());
}

test(`${cycles} times asleep and awake: each number is on the disk once, memory and clock are right, every generation is new`, async (t) => {
  const generations = new Set<number>();
  let written = 0;
  for (let cycle = 0; cycle < cycles; cycle++) {
    const numbers = await sleeper.post<{ written: number; lines: number; wrong: readonly number[] }>(
      "/keep-writing",
      {},
    );
    assert.deepEqual(numbers.wrong, []);
    // The line is there before the number is counted.
    assert.ok(numbers.lines >= numbers.written && numbers.written >= written, JSON.stringify(numbers));
    written = numbers.written;
    await sleeper.suspend();
    const { generation } = await sleeper.resume();
    assert.ok(!generations.has(generation), `generation ${generation} again`);
    generations.add(generation);
    await sleeper.requireMemory();
    assert.ok((await clockError()) < 1000);
  }
  t.diagnostic(`${written} numbers written in ${cycles} cycles`);
  assert.ok(written > cycles);
});

test("the file system on the disk of the sleeping guest is clean", async () => {
  await sleeper.suspend();
  const directory = mkdtempSync(join(tmpdir(), "lobsterd-disk-"));
  try {
    const copy = join(directory, "overlay.ext4");
    writeFileSync(copy, await openDisk(copyDiskOf(sleeper.tenant)));
    // A mounted file system has a journal to be replayed (status 1 says that it was); after that nothing may be left to be repaired.
    const replayed = spawnSync("e2fsck", ["-E", "journal_only", "-y", copy], { encoding: "utf8" });
    assert.ok(replayed.status === 0 || replayed.status === 1, replayed.stderr);
    const checked = spawnSync("e2fsck", ["-f", "-n", copy], { encoding: "utf8" });
    assert.equal(checked.status, 0, checked.stdout);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
