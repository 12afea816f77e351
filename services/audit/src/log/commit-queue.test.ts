import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { CommitQueue } from "./commit-queue.ts";

describe("commit queue", () => {
  it("takes what waits in order, one commit at a time, at most a batch", async () => {
    const batches: number[][] = [];
    let running = 0;
    const queue = new CommitQueue<number, string>({
      maxBatch: 4,
      commit: async (items) => {
        running += 1;
        assert.equal(running, 1);
        batches.push([...items]);
        await new Promise(setImmediate);
        running -= 1;
        return items.map(String);
      },
    });
    const crowd = Array.from({ length: 10 }, (_, item) => queue.push(item));
    assert.deepEqual(await Promise.all(crowd), ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    assert.equal(await queue.push(10), "10");
    assert.deepEqual(batches, [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9], [10]]);
    await queue.drained();
    assert.equal(queue.length, 0);
  });

  it("refuses everything after a failure, what waited included", async () => {
    let commits = 0;
    const queue = new CommitQueue<number, number>({
      maxBatch: 1,
      commit: async () => {
        commits += 1;
        throw new Error("disk failed");
      },
    });
    const results = await Promise.allSettled([queue.push(1), queue.push(2), queue.push(3)]);
    assert.deepEqual(
      results.map(({ status }) => status),
      ["rejected", "rejected", "rejected"],
    );
    await assert.rejects(queue.push(4), /disk failed/);
    assert.equal(commits, 1);
    await queue.drained();
  });
});
