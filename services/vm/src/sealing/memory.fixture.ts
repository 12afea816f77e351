/**
 * How much a process grows while it seals and opens a set. Run as a program it does both and prints its peak; a process of its own, since a peak never
 * goes down.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomBytes, randomFillSync } from "node:crypto";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { promisify } from "node:util";
import { release } from "@lobsterd/chassis/release.ts";
import { openSet } from "./open-set.ts";
import { sealSet } from "./seal-set.ts";
import { orderOf, scratch } from "./testing.ts";

const mib = 1024 * 1024;
const pieceBytes = 64 * 1024;
/** SNP-02, whatever the size. */
const growthLimitMib = 32;
/** Until this much has passed, the process grows by what it needs for any set at all. */
const warmUpMib = 64;

/** Of every `filledEvery` pieces one is random and the others are zeros. */
interface Size {
  readonly plainMib: number;
  readonly filledEvery: number;
}

/** Fails when a process that seals and opens a set of this size grows by more than any set may cost. */
export async function refuseGrowth(t: TestContext, { plainMib, filledEvery }: Size): Promise<void> {
  const program = [import.meta.filename, scratch(t), String(plainMib), String(filledEvery)];
  const { stdout } = await promisify(execFile)(process.execPath, program);
  const growthMib = Number(stdout);
  t.diagnostic(`grew by ${growthMib} MiB`);
  assert.ok(growthMib <= growthLimitMib, `it grew by ${growthMib} MiB`);
}

/** In pieces as a socket brings them: memory of their own, given back when they were read. */
async function* pieces({ plainMib, filledEvery }: Size): AsyncGenerator<Buffer> {
  for (let index = 0; index < (plainMib * mib) / pieceBytes; index++) {
    const piece = Buffer.alloc(pieceBytes);
    if (index % filledEvery === 0) randomFillSync(piece);
    yield piece;
    release(piece);
    if (index % 16 === 0) await new Promise(setImmediate);
  }
}

async function sealAndOpen(directory: string, size: Size): Promise<void> {
  const path = join(directory, `${size.plainMib}.sealed`);
  const dataKey = randomBytes(32);
  await sealSet(orderOf(path, [{ name: "state", read: () => pieces(size) }], { dataKey }));
  let opened = 0;
  await openSet(
    path,
    async () => dataKey,
    async (_part, plain) => {
      opened += plain.length;
      release(plain);
    },
  );
  assert.equal(opened, size.plainMib * mib);
}

if (process.argv[1] === import.meta.filename) {
  const [directory = "", plainMib, filledEvery] = process.argv.slice(2);
  const peakMib = () => process.resourceUsage().maxRSS / 1024;
  await sealAndOpen(directory, { plainMib: warmUpMib, filledEvery: 1 });
  const beforeMib = peakMib();
  await sealAndOpen(directory, { plainMib: Number(plainMib), filledEvery: Number(filledEvery) });
  process.stdout.write((peakMib() - beforeMib).toFixed(1));
}
