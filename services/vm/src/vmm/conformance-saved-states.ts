import assert from "node:assert/strict";
import { PassThrough, Readable, Writable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { test } from "node:test";
import { type GuestUnderTest, newVmId, preparation, rejects, startOf, type VmmUnderTest } from "./vmm-under-test.ts";

/** What every VMM port does with saved states. */
export function savedStateTests(open: () => VmmUnderTest): void {
  let vmm: VmmUnderTest;
  const stateOf = async (vmId: string) => (await vmm.port.list()).find((vm) => vm.vmId === vmId)?.state;
  const identityIsLeft = (vmId: string) => {
    try {
      return vmm.readIdentityDrive(vmId).some((byte) => byte !== 0);
    } catch {
      return false; // no such file
    }
  };
  const check = (name: string, body: (guest: GuestUnderTest, vmId: string) => Promise<void>) =>
    test(name, async () => {
      vmm = open();
      const vmId = newVmId();
      await vmm.port.prepare(preparation(vmId));
      try {
        await vmm.port.start(startOf(vmId));
        await body(vmm.guest, vmId);
      } finally {
        await vmm.port.remove(vmId);
      }
      assert.equal(await stateOf(vmId), undefined);
    });
  const save = async (vmId: string): Promise<Buffer> => {
    const sink = new PassThrough();
    const [{ bytes }, state] = await Promise.all([vmm.port.save(vmId, sink), buffer(sink)]);
    assert.equal(bytes, state.length);
    return state;
  };

  check("a saved, stopped, loaded and resumed guest is the same guest", async (guest, vmId) => {
    const mark = await guest.readMark(vmId);
    const state = await save(vmId);
    assert.deepEqual([await stateOf(vmId), await guest.runs(vmId)], ["running", false]);
    await vmm.port.stop(vmId);
    await vmm.port.stop(vmId);
    assert.equal(await stateOf(vmId), "exited");
    await vmm.port.load(startOf(vmId, 0, 2), Readable.from([Buffer.from(state)]));
    assert.deepEqual([await stateOf(vmId), await guest.runs(vmId)], ["running", false]);
    await rejects(vmm.port.load(startOf(vmId, 0, 3), Readable.from([Buffer.from(state)])), "WRONG_STATE");
    await vmm.port.resume(vmId);
    assert.deepEqual([await guest.runs(vmId), await guest.readMark(vmId)], [true, mark]);
    await rejects(vmm.port.resume(vmId), "WRONG_STATE");
    await vmm.port.stop(vmId);
    await vmm.port.start(startOf(vmId, 0, 3));
    assert.notEqual(await guest.readMark(vmId), mark, "the mark does not tell a boot from a load");
  });

  check("a state is loaded once per generation, and a start does not go back either", async (_guest, vmId) => {
    const state = await save(vmId);
    await vmm.port.stop(vmId);
    await rejects(vmm.port.load(startOf(vmId, 0, 1), Readable.from([Buffer.from(state)])), "STALE_GENERATION");
    await vmm.port.load(startOf(vmId, 0, 5), Readable.from([Buffer.from(state)]));
    await vmm.port.resume(vmId);
    await vmm.port.stop(vmId);
    for (const generation of [4, 5]) {
      await rejects(
        vmm.port.load(startOf(vmId, 0, generation), Readable.from([Buffer.from(state)])),
        "STALE_GENERATION",
      );
      await rejects(vmm.port.start(startOf(vmId, 0, generation)), "STALE_GENERATION");
    }
    assert.equal(await stateOf(vmId), "exited");
    for (const generation of [0, -1, 1.5])
      await rejects(vmm.port.start(startOf(vmId, 0, generation)), "INVALID_REQUEST");
  });

  check("a guest whose state was discarded goes on, and can be saved again", async (guest, vmId) => {
    const mark = await guest.readMark(vmId);
    await save(vmId);
    const sink = new PassThrough();
    await rejects(vmm.port.save(vmId, sink), "WRONG_STATE");
    assert.ok(sink.destroyed);
    await rejects(vmm.port.resume(vmId), "WRONG_STATE");
    await vmm.port.unpause(vmId);
    await vmm.port.unpause(vmId);
    assert.deepEqual([await guest.runs(vmId), await guest.readMark(vmId)], [true, mark]);
    await save(vmId);
  });

  check("a sink that fails leaves the guest running", async (guest, vmId) => {
    const full = new Error("no space left");
    const sink = new Writable({ write: (_chunk, _encoding, done) => done(full) });
    await assert.rejects(vmm.port.save(vmId, sink), full);
    assert.deepEqual([await stateOf(vmId), await guest.runs(vmId)], ["running", true]);
    await save(vmId);
  });

  check(
    "a short, long, corrupt or foreign state is refused and leaves an exited VM without identity",
    async (_, vmId) => {
      const state = await save(vmId);
      await vmm.port.stop(vmId);
      const bad: readonly (readonly [string, Buffer])[] = [
        ["empty", Buffer.alloc(0)],
        ["short by a byte", state.subarray(0, -1)],
        ["half", state.subarray(0, state.length / 2)],
        ["long by a byte", Buffer.concat([state, Buffer.of(0)])],
        ["twice", Buffer.concat([state, state])],
        ["zeros", Buffer.alloc(state.length)],
      ];
      for (const [index, [name, bytes]] of bad.entries()) {
        const reading = Readable.from([bytes]);
        await rejects(vmm.port.load(startOf(vmId, 0, 2 + index), reading), "VMM_FAILED");
        assert.equal(await stateOf(vmId), "exited", name);
        assert.ok(reading.destroyed || reading.readableEnded, name);
        assert.ok(!identityIsLeft(vmId), name);
      }
      const failing = Readable.from(
        (async function* () {
          yield state.subarray(0, 10);
          throw new Error("the seal is broken");
        })(),
      );
      await assert.rejects(vmm.port.load(startOf(vmId, 0, 20), failing), /the seal is broken/);
      assert.equal(await stateOf(vmId), "exited");
      await vmm.port.load(startOf(vmId, 0, 21), Readable.from([Buffer.from(state)]));
    },
  );

  test("nothing is saved, loaded or stopped of a VM that is not there", async () => {
    vmm = open();
    const vmId = newVmId();
    await rejects(vmm.port.save(vmId, new PassThrough()), "NOT_FOUND");
    await rejects(vmm.port.load(startOf(vmId), Readable.from([Buffer.alloc(1)])), "NOT_FOUND");
    for (const call of ["unpause", "resume", "stop"] as const) await rejects(vmm.port[call](vmId), "NOT_FOUND");
    await vmm.port.prepare(preparation(vmId));
    for (const call of ["unpause", "resume"] as const) await rejects(vmm.port[call](vmId), "NOT_FOUND");
    await rejects(vmm.port.save(vmId, new PassThrough()), "NOT_FOUND");
    await vmm.port.remove(vmId);
  });
}
