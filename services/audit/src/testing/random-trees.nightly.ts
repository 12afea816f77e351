import { it } from "node:test";
import { checkRandomTrees } from "./random-trees.ts";
import { seededRandom } from "./test-log.ts";

it("10,000 random trees: all proofs verify, and none with one bit changed", () => {
  checkRandomTrees(10_000, 1500, seededRandom(Date.now()));
});
