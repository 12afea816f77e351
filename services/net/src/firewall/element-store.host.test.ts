import assert from "node:assert/strict";
import { after, before, describe } from "node:test";
import { loadLibc } from "../netlink/libc.ts";
import { elementStoreConformance } from "../testing/element-store.conformance.ts";
import { cannotRun } from "../testing/ground.ts";
import { makeScratch, type Scratch } from "../testing/scratch.ts";
import type { ElementStore } from "./element-store.ts";
import { netlinkElementStore } from "./netlink-element-store.ts";
import { nftElementStore } from "./nft-element-store.ts";

const adapters: Readonly<Record<string, (scratch: Scratch) => ElementStore>> = {
  netlink: ({ path }) => netlinkElementStore(loadLibc(), path),
  nft: ({ runner }) => nftElementStore(runner),
};

for (const [name, adapter] of Object.entries(adapters)) {
  describe(`elements of sets by ${name}`, { skip: cannotRun }, () => {
    let scratch: Scratch | undefined;

    before(async () => {
      scratch = await makeScratch();
    });
    after(() => scratch?.[Symbol.asyncDispose]());

    elementStoreConformance(() => {
      assert.ok(scratch !== undefined);
      return { store: adapter(scratch), runner: scratch.runner };
    });
  });
}
