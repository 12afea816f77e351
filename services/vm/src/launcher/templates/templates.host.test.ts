import assert from "node:assert/strict";
import { openSync, readdirSync, readlinkSync, writeSync } from "node:fs";
import { after, before, suite, test } from "node:test";
import { booted, openTemplatesUnderTest, skip, type TemplatesUnderTest, warm } from "./testing.ts";

suite("templates", { skip }, () => {
  let under: TemplatesUnderTest;
  before(async () => {
    under = await openTemplatesUnderTest();
  });
  after(() => under?.close());

  test("the first guest of a size is booted and saved, the next one starts from it, jailed as any other", async () => {
    const { port, host } = under;
    assert.deepEqual([await under.count(), await under.begins(), await under.count()], [0, booted, 1]);
    await under.withVm(async (vmId) => {
      assert.equal((await port.start(under.startOf(vmId))).origin, "template");
      const { pid, uid, seccompModes, noNewPrivileges, capabilities } = await port.inspect(vmId);
      assert.equal(uid, host.config.uidBase);
      assert.ok(seccompModes.every((mode) => mode === 2) && noNewPrivileges);
      assert.match(`${capabilities.effective}${capabilities.bounding}`, /^0+$/);
      const open = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
      assert.deepEqual(
        open.filter((target) => target.includes("/templates/")),
        [],
        "the VMM has its template open still",
      );
      await under.takesItsDisk(vmId);
    });
    assert.deepEqual(readdirSync(`${host.config.stateDir}/templates`), []);
  });

  test("a template that QEMU cannot take is dropped, and the guest is booted", async () => {
    assert.deepEqual(await under.begins(), warm);
    for (const path of under.files()) writeSync(openSync(path, "r+"), Buffer.alloc(64), 0, 64, 0);
    const { templateFault, ...rest } = await under.begins();
    assert.deepEqual(rest, { origin: "kernel", isTimed: false });
    assert.match(templateFault ?? "", /^load-template: /);
    assert.equal(await under.count(), 0);
  });
});
