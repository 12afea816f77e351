import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { PassThrough, Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { after, before, suite, test } from "node:test";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { testDiskKey } from "../../vmm/testing-disk-key.ts";
import { newVmId } from "../../vmm/vmm-under-test.ts";
import { booted, openTemplatesUnderTest, skip, type TemplatesUnderTest, warm } from "./testing.ts";

suite("templates among sizes, saved states and kills", { skip }, () => {
  let under: TemplatesUnderTest;
  before(async () => {
    under = await openTemplatesUnderTest();
  });
  after(() => under?.close());

  test("a guest of another size is booted", async () => {
    assert.deepEqual([await under.begins(), await under.begins(96), await under.count()], [booted, booted, 2]);
    assert.deepEqual(await under.begins(), warm);
  });

  test("a tenant's saved state becomes no template, a template no saved state, and neither is loaded twice for a tenant", async () => {
    const { port } = under;
    await under.withVm(async (vmId) => {
      await port.start(under.startOf(vmId));
      await under.takesItsDisk(vmId);
      const before = under.files().map((path) => readFileSync(path));
      const sink = new PassThrough();
      const [, state] = await Promise.all([port.save(vmId, sink), buffer(sink)]);
      await port.stop(vmId);
      const report = await port.load(under.startOf(vmId, { generation: 2 }), Readable.from([Buffer.from(state)]));
      assert.deepEqual([report.origin, report.templateMs], ["state", 0]);
      await port.resume(vmId);
      await port.stop(vmId);
      const again = port.load(under.startOf(vmId, { generation: 2 }), Readable.from([Buffer.from(state)]));
      await assert.rejects(again, { reason: "STALE_GENERATION" });
      // Without the frames of a saved state it is refused before QEMU sees a byte of it.
      const template = port.load(under.startOf(vmId, { generation: 3 }), Readable.from(before.slice(0, 1)));
      await assert.rejects(template, { reason: "VMM_FAILED" });
      const after = under.files().map((path) => readFileSync(path));
      assert.ok(before.length > 0 && before.length === after.length);
      assert.ok(before.every((bytes, index) => after[index]?.equals(bytes)));
    });
  });

  test("a launcher killed while a template is saved or loaded leaves a VM that is removed, and the next start works", async () => {
    for (const moment of ["saving", "loading"] as const) {
      await under.killLauncher();
      await under.startLauncher();
      assert.equal(await under.count(), 0, "templates are the launcher's own");
      if (moment === "loading") assert.deepEqual(await under.begins(), booted);
      const vmId = newVmId();
      await under.port.prepare({ vmId, slot: 0, image: "base", overlayMib: 64, diskKey: testDiskKey });
      const starting = assert.rejects(under.port.start(under.startOf(vmId)));
      const isUnderWay = async () => (await under.port.list()).some(({ state }) => state === "running") || undefined;
      await waitFor("the VMM", isUnderWay, { timeoutMs: 10_000, intervalMs: 1 });
      await under.killLauncher();
      await starting;
      await under.startLauncher();
      await under.port.remove(vmId);
      assert.deepEqual(await under.port.list(), []);
      assert.deepEqual(await under.begins(), booted);
    }
  });
});
