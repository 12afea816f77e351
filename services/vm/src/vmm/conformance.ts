import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { PassThrough, Readable, Writable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { after, before, suite, test } from "node:test";
import { ServiceError } from "@lobsterd/chassis/errors.ts";
import type { VmmPort, VmPreparation, VmStart } from "./port.ts";
import { testDiskKey } from "./testing-disk-key.ts";

/** A VMM port under test, on a host with `slotCount` 8: image "base", slots 0 to 2 with a network, slot 3 without. */
export interface VmmUnderTest {
  readonly port: VmmPort;
  /** Makes a running VM end by itself. */
  exit(vmId: string): Promise<void> | void;
  /** The first bytes of the identity drive as the guest would read them. */
  readIdentityDrive(vmId: string): Uint8Array;
  /** Absent where saved states are not offered; the suite then says so. */
  readonly guest?: GuestUnderTest;
  close(): Promise<void> | void;
}

/** Looks into a VM from outside, whether its guest runs or not. */
export interface GuestUnderTest {
  /** Something in the guest's memory that each boot makes anew and that stays as long as the guest lives. */
  readMark(vmId: string): Promise<string>;
  /** Whether the guest's CPUs run. */
  runs(vmId: string): Promise<boolean>;
}

const image = "base";
export const newVmId = (): string => randomBytes(16).toString("hex");
const preparation = (vmId: string, slot = 0): VmPreparation => ({
  vmId,
  slot,
  image,
  overlayMib: 64,
  diskKey: testDiskKey,
});
const startOf = (vmId: string, slot = 0, generation = 1): VmStart => ({
  ...{ vmId, slot, image, vcpuCount: 1, memoryMib: 64, generation },
  identityDrive: new TextEncoder().encode(`{"vmId":"${vmId}"}`),
});

const rejects = (call: Promise<unknown>, reason: string) =>
  assert.rejects(call, (error) => error instanceof ServiceError && error.reason === reason, `expected ${reason}`);

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

function diskTests(open: () => VmmUnderTest): void {
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

  test("a paused guest stands still until it is let go on", async (context) => {
    const { port, guest } = open();
    if (guest === undefined) return context.skip("this VMM's guest cannot be looked into");
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

function savedStateTests(open: () => VmmUnderTest): void {
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
    test(name, async (context) => {
      vmm = open();
      if (vmm.guest === undefined) return context.skip("this VMM does not offer saved states yet");
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

  test("nothing is saved, loaded or stopped of a VM that is not there", async (context) => {
    vmm = open();
    if (vmm.guest === undefined) return context.skip("this VMM does not offer saved states yet");
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
