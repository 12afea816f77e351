import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { cutPower } from "./power-cut.ts";

describe("after a power cut that loses unsynced pages in any order", () => {
  for (const seed of [1, 2, 3, 4, 5, 6, 7, 8]) {
    it(`every acknowledged record is there once, and the log starts (seed ${seed})`, async () => {
      const report = await cutPower({ seed, rounds: 25, writers: 8 });
      assert.ok(report.acknowledged > 500, `only ${report.acknowledged} acknowledged`);
      assert.deepEqual({ ...report, acknowledged: 0 }, { acknowledged: 0, lost: [], doubled: 0, refusedStarts: 0 });
    });
  }
});
