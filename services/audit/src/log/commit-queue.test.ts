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
    assert.ok(queue.isEmpty);
  });

  it("has places in every batch for each lane, by share, whatever waits in another", async () => {
    const batches: string[][] = [];
    const queue = new CommitQueue<string, string>({
      maxBatch: 6,
      shareOf: (lane) => (lane === "secrets" ? 2 : 1),
      commit: async (items) => {
        batches.push([...items]);
        if (batches.length === 1)
          for (let number = 0; number < 5; number += 1) void queue.push(`s${number}`, "secrets");
        if (batches.length === 2) void queue.push("vm", "vm");
        await new Promise(setImmediate);
        return [...items];
      },
    });
    const flood = Array.from({ length: 14 }, (_, number) => queue.push(`n${number}`, "net"));
    await Promise.all(flood);
    await queue.drained();
    assert.deepEqual(batches, [
      ["n0", "n1", "n2", "n3", "n4", "n5"],
      ["n6", "n7", "s0", "s1", "s2", "s3"],
      ["n8", "n9", "n10", "n11", "s4", "vm"],
      ["n12", "n13"],
    ]);
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
