import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { cutPower } from "./power-cut.ts";

// Run by itself: node --test services/audit/src/testing/power-cut.ablation.ts. It passes if the durability test would fail.
describe("without fsync, the control that power-cut.test.ts is about", () => {
  for (const seed of [1, 2, 3, 4]) {
    it(`acknowledged records are lost (seed ${seed})`, async () => {
      const report = await cutPower({ seed, rounds: 25, writers: 8, faults: { ignoreSync: true } });
      assert.ok(report.lost.length > 0, "nothing was lost, so the test does not measure durability");
    });
  }
});
