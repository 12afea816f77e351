import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import { diskTests } from "./conformance-disks.ts";
import { savedStateTests } from "./conformance-saved-states.ts";
import { newVmId, preparation, rejects, startOf, type VmmUnderTest } from "./vmm-under-test.ts";

/** What every VMM port does. Each test leaves nothing behind. */
export function vmmConformance(name: string, open: () => Promise<VmmUnderTest>): void {
  suite(`VMM port: ${name}`, () => {
    let vmm: VmmUnderTest;
    before(async () => {
      vmm = await open();
    });
    after(() => vmm?.close());
    const states = async () => Object.fromEntries((await vmm.port.list()).map(({ vmId, state }) => [vmId, state]));

    test("describe names the VMM", async () => {
      const description = await vmm.port.describe();
      assert.ok(
        description.vmm !== "" && description.version !== "" && description.cores > 0 && description.memoryMib > 0,
      );
      assert.ok(description.reason !== "" && description.overlayCapacityMib > 0 && description.slotCount > 0);
      assert.ok(description.memoryLimit.perGuestMib >= 1 && description.memoryLimit.besideMib >= 0);
    });

    test("prepare never reuses a VM or a slot, and a refused one leaves nothing", async () => {
      const [first, second] = [newVmId(), newVmId()];
      await vmm.port.prepare(preparation(first));
      assert.deepEqual(await vmm.port.list(), [{ vmId: first, slot: 0, state: "prepared" }]);
      await rejects(vmm.port.prepare(preparation(first)), "ALREADY_EXISTS");
      await rejects(vmm.port.prepare(preparation(first, 1)), "ALREADY_EXISTS");
      await rejects(vmm.port.prepare(preparation(second)), "SLOT_IN_USE");
      await rejects(vmm.port.prepare({ ...preparation(second, 1), image: "absent" }), "IMAGE_MISSING");
      assert.deepEqual(await states(), { [first]: "prepared" });
      await vmm.port.remove(first);
      await vmm.port.prepare(preparation(second));
      await vmm.port.remove(second);
      assert.deepEqual(await states(), {});
    });

    test("one of two parallel prepares of a slot wins", async () => {
      const ids = [newVmId(), newVmId()];
      const results = await Promise.allSettled(ids.map((vmId) => vmm.port.prepare(preparation(vmId))));
      assert.deepEqual(results.map(({ status }) => status).sort(), ["fulfilled", "rejected"]);
      assert.equal((await vmm.port.list()).length, 1);
      await Promise.all(ids.map((vmId) => vmm.port.remove(vmId)));
    });

    test("malformed requests are INVALID_REQUEST", async () => {
      const vmId = newVmId();
      for (const bad of ["", "../../etc", vmId.toUpperCase().replace(/^./, "A"), `${vmId}0`, `${vmId}\n`]) {
        await rejects(vmm.port.prepare(preparation(bad)), "INVALID_REQUEST");
        await rejects(vmm.port.remove(bad), "INVALID_REQUEST");
      }
      for (const slot of [-1, 1.5, 8]) await rejects(vmm.port.prepare(preparation(vmId, slot)), "INVALID_REQUEST");
      for (const bad of ["", "..", "a/b", "-x"]) {
        await rejects(vmm.port.prepare({ ...preparation(vmId), image: bad }), "INVALID_REQUEST");
      }
      await rejects(vmm.port.prepare({ ...preparation(vmId), overlayMib: 0 }), "INVALID_REQUEST");
      await rejects(vmm.port.start({ ...startOf(vmId), identityDrive: new Uint8Array(65_537) }), "INVALID_REQUEST");
      assert.deepEqual(await states(), {});
    });

    test("start refuses what was not prepared so", async () => {
      const vmId = newVmId();
      await rejects(vmm.port.start(startOf(vmId)), "NOT_FOUND");
      await vmm.port.prepare(preparation(vmId, 3));
      await rejects(vmm.port.start(startOf(vmId, 1)), "WRONG_STATE");
      await rejects(vmm.port.start({ ...startOf(vmId, 3), image: "other" }), "WRONG_STATE");
      await rejects(vmm.port.start(startOf(vmId, 3)), "NETWORK_MISSING");
      await rejects(vmm.port.inspect(vmId), "NOT_FOUND");
      assert.deepEqual(await states(), { [vmId]: "prepared" });
      await vmm.port.remove(vmId);
    });

    test("a started VM runs confined, once, and its identity drive can be emptied", async () => {
      const vmId = newVmId();
      await vmm.port.prepare(preparation(vmId));
      await vmm.port.start(startOf(vmId));
      assert.deepEqual(await states(), { [vmId]: "running" });
      await rejects(vmm.port.start(startOf(vmId)), "WRONG_STATE");
      const seen = await vmm.port.inspect(vmId);
      assert.ok(seen.pid > 1 && seen.uid >= 100_000 && seen.noNewPrivileges);
      assert.ok(seen.seccompModes.length > 0 && seen.seccompModes.every((mode) => mode === 2));
      assert.match(`${seen.capabilities.effective}${seen.capabilities.bounding}`, /^0+$/);
      assert.equal(seen.cgroup["pids.max"], "128");
      assert.match(Buffer.from(vmm.readIdentityDrive(vmId)).toString("utf8"), new RegExp(`^\\{"vmId":"${vmId}"\\}`));
      await vmm.port.emptyIdentityDrive(vmId);
      await vmm.port.emptyIdentityDrive(vmId);
      assert.ok(vmm.readIdentityDrive(vmId).every((byte) => byte === 0));
      await vmm.port.remove(vmId);
      await rejects(vmm.port.emptyIdentityDrive(vmId), "NOT_FOUND");
    });

    test("removing one VM leaves the others, and removing is safe to repeat", async () => {
      const [first, second] = [newVmId(), newVmId()];
      for (const [slot, vmId] of [first, second].entries()) {
        await vmm.port.prepare(preparation(vmId, slot));
        await vmm.port.start(startOf(vmId, slot));
      }
      const [one, other] = [await vmm.port.inspect(first), await vmm.port.inspect(second)];
      assert.notEqual(one.uid, other.uid);
      for (const [kind, inode] of Object.entries(one.namespaces)) assert.notEqual(other.namespaces[kind], inode, kind);
      await vmm.port.remove(first);
      await vmm.port.remove(first);
      await vmm.port.remove(newVmId());
      assert.deepEqual(await states(), { [second]: "running" });
      assert.equal((await vmm.port.inspect(second)).pid, other.pid);
      await vmm.port.remove(second);
      assert.deepEqual(await states(), {});
    });

    test("a VM that ended by itself is told, can be started again and removed", async () => {
      const vmId = newVmId();
      await vmm.port.prepare(preparation(vmId, 2));
      await vmm.port.start(startOf(vmId, 2));
      await vmm.exit(vmId);
      assert.deepEqual(await states(), { [vmId]: "exited" });
      await rejects(vmm.port.inspect(vmId), "NOT_FOUND");
      await vmm.port.start(startOf(vmId, 2, 2));
      assert.deepEqual(await states(), { [vmId]: "running" });
      await vmm.port.remove(vmId);
      assert.deepEqual(await states(), {});
    });

    diskTests(() => vmm);
    savedStateTests(() => vmm);
  });
}
