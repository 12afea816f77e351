import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { test } from "node:test";
import type { VmmPort } from "./port.ts";
import { newVmId, preparation, rejects, startOf, type VmmUnderTest } from "./vmm-under-test.ts";

/** What every VMM port does with disks, and the pause in which one is read as of one moment. */
export function diskTests(open: () => VmmUnderTest): void {
  const diskBytes = 64 * 1024 * 1024;
  const other = Buffer.alloc(diskBytes);
  other.write("another disk", 123_456_789 % diskBytes);
  other.write("its end", diskBytes - 7);
  const readWhole = async (port: VmmPort, vmId: string) => await buffer(await port.readDisk(vmId));

  test("a disk is read, and another one takes its place only when it is whole", async () => {
    const { port } = open();
    const vmId = newVmId();
    await rejects(port.readDisk(vmId), "NOT_FOUND");
    await rejects(port.writeDisk(vmId, Readable.from([other])), "NOT_FOUND");
    await port.prepare(preparation(vmId));
    try {
      const own = await readWhole(port, vmId);
      assert.equal(own.length, diskBytes);
      const broken = Readable.from(
        (async function* () {
          yield other.subarray(0, 1_000_000);
          throw new Error("the seal is broken");
        })(),
      );
      await assert.rejects(port.writeDisk(vmId, broken), /the seal is broken/);
      await rejects(port.writeDisk(vmId, Readable.from([other.subarray(1)])), "UNAVAILABLE");
      await rejects(port.writeDisk(vmId, Readable.from([other, Buffer.of(0)])), "UNAVAILABLE");
      await port.replaceDisk(vmId);
      assert.ok((await readWhole(port, vmId)).equals(own), "what is not whole takes no place");
      await port.writeDisk(vmId, Readable.from([other]));
      assert.ok((await readWhole(port, vmId)).equals(own), "before it is told to");
      await port.replaceDisk(vmId);
      await port.replaceDisk(vmId);
      assert.ok((await readWhole(port, vmId)).equals(other));
      await port.writeDisk(vmId, Readable.from([own]));
      await port.start(startOf(vmId));
      await rejects(port.replaceDisk(vmId), "WRONG_STATE");
      await rejects(port.writeDisk(vmId, Readable.from([own])), "WRONG_STATE");
      assert.ok((await readWhole(port, vmId)).equals(other), "of a running VM too");
      (await port.readDisk(vmId)).destroy();
    } finally {
      await port.remove(vmId);
    }
    assert.deepEqual(await port.list(), []);
  });

  test("a paused guest stands still until it is let go on", async () => {
    const { port, guest } = open();
    const vmId = newVmId();
    await rejects(port.pause(vmId), "NOT_FOUND");
    await port.prepare(preparation(vmId));
    try {
      await rejects(port.pause(vmId), "NOT_FOUND");
      await port.start(startOf(vmId));
      await port.pause(vmId);
      assert.equal(await guest.runs(vmId), false);
      await port.unpause(vmId);
      assert.equal(await guest.runs(vmId), true);
    } finally {
      await port.remove(vmId);
    }
  });
}
