import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { createHashFile, createMemoryHashStore, type HashStore } from "./hash-store.ts";

const hashAt = (position: number) => Buffer.alloc(32, `hash ${position}`);

const stores: Record<string, (context: TestContext) => HashStore> = {
  "in a file": (context) => {
    const directory = mkdtempSync(join(tmpdir(), "lobsterd-hashes-"));
    context.after(() => rmSync(directory, { recursive: true }));
    return createHashFile(join(directory, "tree.hashes"));
  },
  "in memory": () => createMemoryHashStore(),
};

for (const [where, openStore] of Object.entries(stores)) {
  describe(`hashes ${where}`, () => {
    it("are read back at once and later, wherever a write ended", (context) => {
      const store = openStore(context);
      for (let position = 0; position < 10_000; ) {
        const hashes = Array.from({ length: 1 + (position % 7) }, (_, at) => hashAt(position + at));
        store.append(hashes);
        position += hashes.length;
        assert.deepEqual(Buffer.from(store.read(position - 1)), hashAt(position - 1));
      }
      for (let position = 0; position < 10_000; position += 97) {
        assert.deepEqual(Buffer.from(store.read(position)), hashAt(position));
      }
      assert.throws(() => store.read(20_000), RangeError);
      store.close();
    });
  });
}
