import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { fileHeader } from "../log/frame.ts";
import type { LogFile } from "../log/log-file.ts";

/** What every log file does; `open` gives a fresh one and cleans up after the test. */
export function describeLogFile(name: string, open: (context: TestContext) => Promise<LogFile>): void {
  describe(`${name} as a log file`, () => {
    it("begins with the header", async (context) => {
      const file = await open(context);
      assert.deepEqual(await file.read(0, 1000), fileHeader);
      assert.equal(await file.size(), fileHeader.length);
      await file.close();
    });

    it("appends at the end and reads back any part", async (context) => {
      const file = await open(context);
      await file.append(Buffer.from("first "));
      await file.append(Buffer.from("second"));
      await file.sync();
      const start = fileHeader.length;
      assert.equal((await file.read(start, 12)).toString(), "first second");
      assert.equal((await file.read(start + 6, 3)).toString(), "sec");
      assert.equal((await file.read(start + 10, 100)).toString(), "nd");
      assert.equal((await file.read(start + 100, 10)).length, 0);
      await file.close();
    });

    it("appends after a cut where the cut was", async (context) => {
      const file = await open(context);
      await file.append(Buffer.from("kept torn"));
      await file.truncate(fileHeader.length + 5);
      await file.sync();
      await file.append(Buffer.from("new"));
      assert.equal((await file.read(fileHeader.length, 100)).toString(), "kept new");
      assert.equal(await file.size(), fileHeader.length + 8);
      await file.close();
    });

    it("says how much space is left", async (context) => {
      const file = await open(context);
      assert.ok((await file.freeBytes()) > 0);
      await file.close();
    });
  });
}
