import assert from "node:assert/strict";
import { after, before, describe } from "node:test";
import { keepSocket } from "../netlink/kept-socket.ts";
import { loadLibc } from "../netlink/libc.ts";
import { protocols } from "../netlink/socket.ts";
import { elementStoreConformance } from "../testing/element-store.conformance.ts";
import { cannotRun } from "../testing/ground.ts";
import { makeScratch, type Scratch } from "../testing/scratch.ts";
import type { ElementStore } from "./element-store.ts";
import { netlinkElementStore } from "./netlink-element-store.ts";
import { nftElementStore } from "./nft-element-store.ts";

const adapters: Readonly<Record<string, (scratch: Scratch, kept: DisposableStack) => ElementStore>> = {
  netlink: ({ path }, kept) => netlinkElementStore(kept.use(keepSocket(loadLibc(), protocols.netfilter, path))),
  nft: ({ runner }) => nftElementStore(runner),
};

for (const [name, adapter] of Object.entries(adapters)) {
  describe(`elements of sets by ${name}`, { skip: cannotRun }, () => {
    let scratch: Scratch | undefined;
    let store: ElementStore | undefined;
    const kept = new DisposableStack();

    before(async () => {
      scratch = await makeScratch();
      store = adapter(scratch, kept);
    });
    after(async () => {
      kept.dispose();
      await scratch?.[Symbol.asyncDispose]();
    });

    elementStoreConformance(() => {
      assert.ok(scratch !== undefined && store !== undefined);
      return { store, runner: scratch.runner };
    });
  });
}
