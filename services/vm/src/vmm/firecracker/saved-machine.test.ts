import assert from "node:assert/strict";
import { Duplex, PassThrough, Readable, Writable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { afterEach, beforeEach, suite, test } from "node:test";
import { ServiceError } from "@lobsterd/chassis/errors.ts";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { release } from "@lobsterd/chassis/release.ts";
import { type VmStart, vmmFail } from "../port.ts";
import { frameState, unframeState } from "../saved-state.ts";
import { testDiskKey } from "../testing-disk-key.ts";
import { newVmId } from "../vmm-under-test.ts";
import { type FirecrackerVmm, openFirecrackerVmm } from "./adapter.ts";
import type { Channel } from "./host.ts";
import type { StubFault } from "./testing/stub-faults.ts";
import { createStubHost, type StubHost } from "./testing/stub-host.ts";

const mib = 2 ** 20;
const memoryMib = 64;
const deadlines = { callMs: 30_000, snapshotMs: 30_000 };
let generation = 0;
const startOf = (vmId: string): VmStart => ({
  generation: ++generation,
  ...{ vmId, slot: 0, image: "base", vcpuCount: 2, memoryMib },
  identityDrive: new TextEncoder().encode("{}"),
});
const die = (on: string): StubFault => ({ on, kind: "die" });
const refuse = (on: string): StubFault => ({ on, kind: "refuse", message: "no" });

suite("saved states of Firecracker", () => {
  let host: StubHost;
  let vmm: FirecrackerVmm;
  let vmId: string;
  beforeEach(async () => {
    host = createStubHost({ images: ["base"], slotCount: 8 });
    vmm = openWith();
    vmId = newVmId();
    await vmm.prepare({ vmId, slot: 0, image: "base", overlayMib: 64, diskKey: testDiskKey });
    await vmm.start(startOf(vmId));
  });
  afterEach(() => {
    vmm.close();
    host.close();
  });
  const openWith = (options: { stallMs?: number } = {}) =>
    openFirecrackerVmm(host, { onUnresponsive: () => {}, onEnded: () => {}, deadlines, ...options });
  const machine = () => host.stub(vmId).machine;
  const asked = () => host.stub(vmId).requests.map(({ method, path }) => `${method} ${path}`);
  const save = async (): Promise<Buffer> => {
    const sink = new PassThrough();
    const [{ bytes }, state] = await Promise.all([vmm.save(vmId, sink), buffer(sink)]);
    assert.equal(bytes, state.length);
    return state;
  };
  const saveFails = async (reason: string, what: string) => {
    const sink = new PassThrough();
    sink.resume().on("error", () => {});
    await assert.rejects(vmm.save(vmId, sink), { reason }, what);
    assert.ok(sink.destroyed, what);
  };
  const savedAndStopped = async (): Promise<Buffer> => {
    const state = await save();
    await vmm.stop(vmId);
    return state;
  };
  /** What is in the frames of a state: its first `stateBytes` are the devices'. */
  const contentsOf = async (state: Buffer) => {
    const contents = await buffer(unframeState(await vmm.describe(), Readable.from([state])));
    return { stateBytes: contents.readUInt32BE(), contents };
  };
  const framed = async (...pieces: readonly Buffer[]) =>
    await buffer(frameState(await vmm.describe(), Readable.from(pieces), async () => {}));
  const loadOf = (state: Buffer) => vmm.load(startOf(vmId), Readable.from([Buffer.from(state)]));
  const assertRuns = (what: string) => {
    assert.equal(machine().state, "Running", what);
    assert.deepEqual(host.savedFiles(vmId), [], what);
  };
  const assertExited = async (what: string) => {
    assert.deepEqual(await vmm.list(), [{ vmId, slot: 0, state: "exited" }], what);
    assert.deepEqual(host.leftovers(), [], what);
    assert.equal(host.identityDrive(vmId).length, 0, what);
  };
  /** Has `work` done when a channel is about to be opened; what it returns is opened instead. */
  const onConnect = (channel: Channel, work: () => Duplex | undefined): (() => void) => {
    const { connect } = host;
    host.connect = async (...request) => (request[1] === channel ? work() : undefined) ?? connect(...request);
    return () => {
      host.connect = connect;
    };
  };
  const faulty = (...faults: readonly StubFault[]): undefined => {
    host.faults = faults;
  };
  const fullWith = (failure: ServiceError): undefined => {
    host.roomFailure = failure;
  };
  const channelOf = (...pieces: readonly Buffer[]) => Duplex.from(Readable.from(pieces));

  test("a save makes room, pauses and makes exactly these calls; nothing of it has a name then", async () => {
    const before = asked().length;
    const { makeRoom } = host;
    host.makeRoom = async (id) => {
      assert.equal(machine().state, "Running", "paused before there was room");
      return await makeRoom(id);
    };
    await save();
    assert.deepEqual(asked().slice(before), ["GET /", "PATCH /vm", "PUT /snapshot/create", "GET /"]);
    assert.deepEqual(host.stub(vmId).requests.find(({ path }) => path === "/snapshot/create")?.body, {
      ...{ snapshot_type: "Full", snapshot_path: "/saved/state", mem_file_path: "/saved/memory" },
    });
    assert.equal(machine().state, "Paused");
    assert.deepEqual(host.savedFiles(vmId), []);
  });

  test("in the frames are the length of the state, the state, and as much memory as the guest has", async () => {
    const { stateBytes, contents } = await contentsOf(await save());
    assert.equal(contents.length, 4 + stateBytes + memoryMib * mib);
    assert.ok(JSON.parse(contents.toString("utf8", 4, 4 + stateBytes)).length > 5);
    assert.equal(contents.toString("latin1", 4 + stateBytes, 4 + stateBytes + 36), machine().mark);
  });

  test("the pieces of a state may be given back as they are taken, and those of a load are given back", async () => {
    const { mark } = machine();
    const pieces: Buffer[] = [];
    const sink = new Writable({
      objectMode: true,
      highWaterMark: 1,
      write(piece: Buffer, _encoding, done) {
        pieces.push(Buffer.concat([piece]));
        release(piece);
        done();
      },
    });
    await vmm.save(vmId, sink);
    await vmm.stop(vmId);
    const own = pieces.map((piece) => Buffer.from(Uint8Array.from(piece).buffer));
    await vmm.load(startOf(vmId), Readable.from(own));
    assert.equal(machine().mark, mark);
    const kept = own.filter((piece) => piece.length > 0);
    assert.ok(kept.length <= 1, `${kept.length} of ${own.length} pieces were kept`);
  });

  test("a save that fails at any step leaves a guest that runs, and no file", async () => {
    const memory = Buffer.alloc(memoryMib * mib);
    const cut = () => {
      const channel = new PassThrough();
      channel.write(memory.subarray(0, mib));
      setImmediate(() => channel.destroy());
      return channel;
    };
    const cases: readonly (readonly [string, () => undefined | (() => void)])[] = [
      ["no room", () => fullWith(vmmFail("VMM_FAILED", "no room"))],
      ["it does not pause", () => faulty(refuse("PATCH /vm"))],
      ["it does not save", () => faulty(refuse("PUT /snapshot/create"))],
      ["an empty state", () => onConnect("state", () => channelOf())],
      ["a long state", () => onConnect("state", () => channelOf(Buffer.alloc(16 * mib + 1)))],
      ["a short memory", () => onConnect("memory", () => channelOf(memory.subarray(1)))],
      ["a long memory", () => onConnect("memory", () => channelOf(memory, Buffer.of(0)))],
      ["a memory that is cut off", () => onConnect("memory", cut)],
      ["a state that is cut off", () => onConnect("state", cut)],
      ["a launcher that was restarted as the state was read", () => onConnect("state", () => void host.dropChannels())],
      [
        "a launcher that was restarted as the memory was read",
        () => onConnect("memory", () => void setImmediate(() => host.dropChannels())),
      ],
    ];
    for (const [what, arrange] of cases) {
      const undo = arrange();
      await saveFailsAndGoesOn(what);
      undo?.();
    }
    await save();
  });

  /** A VMM that refuses to be paused is asked for nothing more; one that was paused is let go on, which the same fault would hinder. */
  async function saveFailsAndGoesOn(what: string): Promise<void> {
    await saveFails("VMM_FAILED", what);
    host.faults = [];
    host.roomFailure = undefined;
    assertRuns(what);
  }

  test("a VMM that says that it runs, though it was paused, has saved nothing", async () => {
    onConnect("memory", () => faulty({ on: "GET /", kind: "lie", changes: { state: "Running" } }));
    await saveFails("VMM_FAILED", "it lies");
  });

  test("a state is complete only when the connection answers that was there before it", async () => {
    // What a launcher sends that was killed ends as if it were whole.
    const memory = Buffer.alloc(memoryMib * mib);
    onConnect("memory", () => {
      host.dropChannels();
      return channelOf(memory);
    });
    await saveFails("VMM_FAILED", "another launcher");
    assertRuns("another launcher");
  });

  test("a sink that takes nothing, and a channel that gives nothing, is TIMED_OUT, and the guest runs", async () => {
    vmm.close();
    vmm = openWith({ stallMs: 50 });
    const stuck = new Writable({ highWaterMark: 1, write: () => {} });
    await assert.rejects(vmm.save(vmId, stuck), { reason: "TIMED_OUT" });
    assertRuns("sink");
    for (const channel of ["state", "memory"] as const) {
      const undo = onConnect(channel, () => new PassThrough());
      await saveFails("TIMED_OUT", channel);
      undo();
      assertRuns(channel);
    }
  });

  test("what a sink fails with is told as it is, whatever it is", async () => {
    for (const reason of ["UNAVAILABLE", "NOT_FOUND", "WRONG_STATE"] as const) {
      const failure = vmmFail(reason, "the store of sealed states");
      const failing = new Writable({ write: (_piece, _encoding, done) => done(failure) });
      await assert.rejects(vmm.save(vmId, failing), (error) => error === failure, reason);
      assertRuns(reason);
      const destroyed = new PassThrough();
      destroyed.destroy(failure);
      await assert.rejects(vmm.save(vmId, destroyed), (error) => error === failure, `${reason} before`);
      assertRuns(`${reason} before`);
    }
  });

  const ends: readonly (readonly [string, () => void])[] = [
    ["as it pauses", () => faulty(die("PATCH /vm"))],
    ["as it saves", () => faulty(die("PUT /snapshot/create"))],
    ["before its state is read", () => void onConnect("state", () => void host.exit(vmId))],
    ["before its memory is read", () => void onConnect("memory", () => void host.exit(vmId))],
    ["while its memory is read", () => void onConnect("memory", () => void setImmediate(() => host.exit(vmId)))],
    ["before it is asked whether it is paused", () => void onConnect("memory", () => faulty(die("GET /")))],
  ];
  for (const [when, arrange] of ends) {
    test(`a VMM that ends ${when} is VMM_FAILED, and exited without its identity`, async () => {
      arrange();
      await saveFails("VMM_FAILED", when);
      await assertExited(when);
    });
  }

  test("a launcher that is away leaves a guest that may be paused, which unpause lets go on without a file", async () => {
    onConnect("state", () => {
      host.unreachable = true;
      host.dropChannels();
      return undefined;
    });
    await saveFails("UNAVAILABLE", "away");
    assert.equal(machine().state, "Paused");
    assert.deepEqual([...host.savedFiles(vmId)].sort(), ["memory", "state"]);
    host.unreachable = false;
    await vmm.unpause(vmId);
    assertRuns("unpaused");
  });

  test("a load sends both files first, makes exactly these calls, and leaves no name", async () => {
    const state = await savedAndStopped();
    const { put } = host;
    const sent: string[] = [];
    host.put = async (...request) => {
      assert.deepEqual(asked(), [], "the VMM was asked before its files were there");
      await put(...request);
      sent.push(request[1]);
    };
    const { origin, stagesMs } = await loadOf(state);
    assert.equal(origin, "state");
    for (const [stage, durationMs] of Object.entries(stagesMs)) assert.ok(durationMs >= 0, stage);
    assert.deepEqual(sent, ["incoming", "incomingMemory"]);
    assert.deepEqual(asked(), [
      ...["GET /", "GET /version", "GET /", "PUT /logger", "PUT /metrics", "PUT /serial", "PUT /snapshot/load"],
      ...["GET /vm/config", "GET /"],
    ]);
    assert.deepEqual(host.stub(vmId).requests.find(({ path }) => path === "/snapshot/load")?.body, {
      snapshot_path: "/saved/state",
      mem_backend: { backend_type: "File", backend_path: "/saved/memory" },
      resume_vm: false,
    });
    assert.deepEqual([machine().state, host.savedFiles(vmId)], ["Paused", []]);
    await vmm.resume(vmId);
    assert.equal(machine().state, "Running");
  });

  test("a state whose frames hold something else is refused before the VMM is asked for anything", async () => {
    const { stateBytes, contents } = await contentsOf(await savedAndStopped());
    const length = (bytes: number) => {
      const field = Buffer.alloc(4);
      field.writeUInt32BE(bytes);
      return field;
    };
    const foreign = await buffer(
      frameState({ vmm: "qemu", version: "1", accelerator: "tcg" }, Readable.from([contents]), async () => {}),
    );
    const bad: readonly (readonly [string, Buffer, string, RegExp?])[] = [
      ["nothing", await framed(), "VMM_FAILED"],
      ["half a length", await framed(Buffer.alloc(2)), "VMM_FAILED"],
      ["no state", await framed(length(0), contents.subarray(4 + stateBytes)), "VMM_FAILED"],
      [
        "a state of 16 MiB and more",
        await framed(length(16 * mib + 1), Buffer.alloc(80 * mib)),
        "VMM_FAILED",
        /too long/,
      ],
      ["a byte of memory too few", await framed(contents.subarray(0, -1)), "VMM_FAILED"],
      ["a byte of memory too many", await framed(contents, Buffer.of(0)), "VMM_FAILED"],
      ["a longer state of the same whole", await framed(length(stateBytes + 1), contents.subarray(4)), "VMM_FAILED"],
      ["another VMM's", foreign, "MACHINE_MISMATCH"],
    ];
    for (const [what, state, reason, message = /./] of bad) {
      await assert.rejects(loadOf(state), { reason, message }, what);
      assert.deepEqual(asked(), [], what);
      await assertExited(what);
    }
    await loadOf(await framed(contents));
  });

  test("a loaded machine that is corrupt, runs, or is another one, is killed", async () => {
    const state = await savedAndStopped();
    const { stateBytes, contents } = await contentsOf(state);
    contents.fill(0, 4, 4 + stateBytes);
    await assert.rejects(loadOf(await framed(contents)), { reason: "VMM_FAILED" });
    await assertExited("corrupt");
    host.faults = [{ on: "GET /vm/config", kind: "lie", changes: { vsock: { guest_cid: 3 } } }];
    await assert.rejects(loadOf(state), { reason: "MACHINE_MISMATCH", message: /vsock/ });
    await assertExited("vsock");
    host.faults = [];
    const other = { ...startOf(vmId), vcpuCount: 4 };
    await assert.rejects(vmm.load(other, Readable.from([Buffer.from(state)])), {
      reason: "MACHINE_MISMATCH",
      message: /vcpu_count/,
    });
    await assertExited("other");
    host.resumesAtLoad = true;
    await assert.rejects(loadOf(state), { reason: "MACHINE_MISMATCH", message: /Running/ });
    await assertExited("runs");
    host.resumesAtLoad = false;
    host.placeFailure = vmmFail("JAIL_MISMATCH", "descriptors");
    await assert.rejects(loadOf(state), { reason: "JAIL_MISMATCH" });
    await assertExited("place");
  });

  test("a VMM that ends or refuses at any step of a load is VMM_FAILED, and exited", async () => {
    const state = await savedAndStopped();
    for (const on of ["GET /", "GET /version", "PUT /logger", "PUT /snapshot/load", "GET /vm/config"])
      for (const fault of [die(on), refuse(on)]) {
        host.faults = [fault];
        await assert.rejects(loadOf(state), { reason: "VMM_FAILED" }, `${fault.kind} ${on}`);
        await assertExited(`${fault.kind} ${on}`);
      }
    host.faults = [];
    const { put } = host;
    for (const channel of ["incoming", "incomingMemory"]) {
      host.put = async (...request) => {
        if (request[1] === channel) host.exit(vmId);
        await put(...request);
      };
      await assert.rejects(loadOf(state), { reason: "VMM_FAILED" }, channel);
      await assertExited(channel);
    }
    host.put = () => Promise.reject(vmmFail("VMM_FAILED", "no room"));
    await assert.rejects(loadOf(state), { reason: "VMM_FAILED", message: "no room" });
    await assertExited("no room");
    host.put = put;
    await loadOf(state);
  });

  test("what a state fails to be read with is told as it is; one that stalls is TIMED_OUT", async () => {
    const state = await savedAndStopped();
    const broken = vmmFail("UNAVAILABLE", "the seal's key is away");
    for (const bytes of [0, 10, state.length - 1]) {
      const failing = Readable.from(
        (async function* () {
          if (bytes > 0) yield Buffer.from(state.subarray(0, bytes));
          throw broken;
        })(),
      );
      await assert.rejects(vmm.load(startOf(vmId), failing), (error) => error === broken, `${bytes}`);
      await assertExited(`${bytes}`);
    }
    vmm.close();
    vmm = openWith({ stallMs: 50 });
    const stalling = new PassThrough();
    stalling.write(state.subarray(0, 1000));
    await assert.rejects(vmm.load(startOf(vmId), stalling), { reason: "TIMED_OUT" });
    assert.ok(stalling.destroyed);
    await assertExited("stalled");
    const { put } = host;
    host.put = async (_vmId, _channel, _bytes, signal) => {
      const aborted = async () => signal.aborted || undefined;
      await waitFor("the end of the load", aborted, { timeoutMs: 5_000, intervalMs: 2 });
      throw new DOMException("ended", "AbortError");
    };
    await assert.rejects(loadOf(state), { reason: "TIMED_OUT" });
    await assertExited("nobody takes it");
    host.put = put;
  });

  test("a load that failed and could not be stopped says both", async () => {
    const state = await savedAndStopped();
    host.faults = [refuse("PUT /snapshot/load")];
    host.stopFailure = new ServiceError({ reason: "UNAVAILABLE", domain: "vmm.lobsterd", code: 14 }, "down");
    await assert.rejects(loadOf(state), { reason: "UNAVAILABLE", message: /VMM_FAILED.*could not be stopped/ });
    host.stopFailure = undefined;
    await vmm.remove(vmId);
    assert.deepEqual(host.leftovers(), []);
  });

  test("a loaded guest waits for resume; after a restart of this process unpause lets it go on", async () => {
    const state = await savedAndStopped();
    await loadOf(state);
    await assert.rejects(vmm.unpause(vmId), { reason: "WRONG_STATE" });
    await saveFails("WRONG_STATE", "loaded");
    assert.equal(machine().state, "Paused");
    await vmm.resume(vmId);
    await assert.rejects(vmm.resume(vmId), { reason: "WRONG_STATE" });
    await save();
    await assert.rejects(vmm.resume(vmId), { reason: "WRONG_STATE" });
    await vmm.unpause(vmId);
    await vmm.stop(vmId);
    await loadOf(state);
    vmm.close();
    vmm = openWith();
    await assert.rejects(vmm.resume(vmId), { reason: "WRONG_STATE" });
    await vmm.unpause(vmId);
    assert.equal(machine().state, "Running");
  });

  test("what was loaded and ended is not loaded any more once it is started again", async () => {
    const state = await savedAndStopped();
    await loadOf(state);
    host.exit(vmId);
    const closed = async () => host.openChannels === 0 || undefined;
    await waitFor("the end of all channels", closed, { timeoutMs: 5_000, intervalMs: 1 });
    await assert.rejects(vmm.unpause(vmId), { reason: "NOT_FOUND" });
    await vmm.start(startOf(vmId));
    await vmm.pause(vmId);
    await assert.rejects(vmm.resume(vmId), { reason: "WRONG_STATE" });
    await vmm.unpause(vmId);
    assertRuns("started");
  });
});
