import { execFileSync } from "node:child_process";
import { once } from "node:events";
import {
  constants,
  createReadStream,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { open as openFile } from "node:fs/promises";
import { connect, Socket } from "node:net";
import { tmpdir } from "node:os";
import { Duplex } from "node:stream";
import { Code } from "@connectrpc/connect";
import { ServiceError } from "@lobsterd/chassis/errors.ts";
import { createFakeVmm, type FakeVmmOptions } from "../../fake.ts";
import { type VmStart, vmmFail } from "../../port.ts";
import type { Channel, FirecrackerHost } from "../host.ts";
import { pinnedVersion } from "../version.ts";
import type { StubFault } from "./stub-faults.ts";
import { type StubVmm, startStubVmm } from "./stub-vmm.ts";

/** A host whose VMMs are stubs in this process, each on a real socket and real FIFOs, without jail and without rights. */
export interface StubHost extends FirecrackerHost {
  /** What every VMM does wrong from now on. */
  faults: readonly StubFault[];
  /** What `start` gives the VMM for a version, and for an id when it is not the VM's own. */
  version: string | undefined;
  id: string | undefined;
  /** Why `place` fails, `stop` fails, or nothing is reachable. */
  placeFailure: ServiceError | undefined;
  stopFailure: ServiceError | undefined;
  unreachable: boolean;
  /** Why there is no room for a state. */
  roomFailure: ServiceError | undefined;
  /** Whether VMMs run what they load, against their orders. */
  resumesAtLoad: boolean;
  /** What of a saved state has a name. */
  savedFiles(vmId: string): readonly string[];
  /** The last VMM of the VM, running or not. */
  stub(vmId: string): StubVmm;
  /** Ends a VMM by itself. */
  exit(vmId: string): void;
  /** Cuts off every channel, as a launcher that is restarted does. */
  dropChannels(): void;
  readonly openChannels: number;
  /** Directories of VMMs that were not cleaned up. */
  leftovers(): readonly string[];
  identityDrive(vmId: string): Uint8Array;
  close(): void;
}

const files = ["vmlinux", "initrd.cpio", "rootfs.erofs", "overlay.ext4", "identity.img"];
const outputs = ["log", "metrics", "serial"];
const busy = () =>
  new ServiceError({ reason: "CHANNEL_BUSY", domain: "vmm.lobsterd", code: Code.Aborted }, "somebody has it");

export function createStubHost(options: FakeVmmOptions = {}): StubHost {
  const fake = createFakeVmm(options);
  const base = mkdtempSync(`${tmpdir()}/lobsterd-firecracker-`);
  const rootOf = (vmId: string) => `${base}/${vmId}`;
  const stubs = new Map<string, StubVmm>();
  const running = new Set<string>();
  const channels = new Map<string, Duplex>();
  const memoryMib = new Map<string, number>();
  const savedIn = (vmId: string) => `${rootOf(vmId)}/saved`;
  const clear = (vmId: string) => {
    for (const name of ["memory", "state"]) rmSync(`${savedIn(vmId)}/${name}`, { force: true });
  };
  const requireRunning = (vmId: string) => {
    if (host.unreachable) throw vmmFail("UNAVAILABLE", "the host cannot be reached");
    if (!running.has(vmId)) throw vmmFail("NOT_FOUND", "it does not run");
  };

  const end = (vmId: string) => {
    stubs.get(vmId)?.close();
    for (const [name, stream] of channels) if (name.startsWith(vmId)) stream.destroy();
    rmSync(rootOf(vmId), { recursive: true, force: true });
  };
  const boot = async (vmId: string) => {
    const root = rootOf(vmId);
    mkdirSync(`${root}/saved`, { recursive: true });
    for (const name of files) writeFileSync(`${root}/${name}`, name);
    execFileSync(
      "mkfifo",
      outputs.map((name) => `${root}/${name}.fifo`),
    );
    const version = host.version === undefined ? {} : { version: host.version };
    const stub = await startStubVmm({
      id: host.id ?? vmId,
      root,
      faults: () => host.faults,
      ...version,
      resumesAtLoad: host.resumesAtLoad,
    });
    stubs.set(vmId, stub);
    void stub.ended.then(() => {
      if (stubs.get(vmId) === stub && running.has(vmId)) host.exit(vmId);
    });
  };
  const launch = async (start: VmStart) => {
    const report = await fake.start(start);
    memoryMib.set(start.vmId, start.memoryMib);
    await boot(start.vmId);
    running.add(start.vmId);
    return report;
  };
  /** Bytes that a file of a state has at least, and at most. */
  const boundsOf = (vmId: string, name: string): readonly [number, number] => {
    const memoryBytes = (memoryMib.get(vmId) ?? 0) * 2 ** 20;
    return name === "memory" ? [memoryBytes, memoryBytes] : [1, 2 ** 24];
  };
  const openSaved = (vmId: string, name: string): Duplex => {
    const path = `${savedIn(vmId)}/${name}`;
    const [shortest, longest] = boundsOf(vmId, name);
    const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    if (size < shortest || size > longest) throw vmmFail("HOST_UNSAFE", `${name} has ${size} bytes`);
    const fd = openSync(path, "r");
    unlinkSync(path);
    return Duplex.from(createReadStream("", { fd }));
  };
  const open = async (vmId: string, channel: Channel): Promise<Duplex> => {
    if (channel === "state" || channel === "memory") return openSaved(vmId, channel);
    if (channel === "api") {
      const socket = connect(`${rootOf(vmId)}/api.socket`);
      await once(socket, "connect");
      return socket;
    }
    // For writing too: a FIFO that only has readers is at its end at once.
    return new Socket({ fd: openSync(`${rootOf(vmId)}/${channel}.fifo`, constants.O_RDWR | constants.O_NONBLOCK) });
  };

  const host: StubHost = {
    ...fake,
    describe: async () => ({ ...(await fake.describe()), vmm: "firecracker", version: pinnedVersion }),
    faults: [],
    version: undefined,
    id: undefined,
    placeFailure: undefined,
    stopFailure: undefined,
    unreachable: false,
    roomFailure: undefined,
    resumesAtLoad: false,
    savedFiles: (vmId) => readdirSync(savedIn(vmId)),
    start: launch,
    startWaiting: async (start) => ({ ...(await launch(start)), origin: "state" }),
    async makeRoom(vmId) {
      requireRunning(vmId);
      if (host.roomFailure !== undefined) throw host.roomFailure;
      clear(vmId);
      for (const name of ["memory", "state"]) writeFileSync(`${savedIn(vmId)}/${name}`, "", { flag: "wx" });
      const mib = memoryMib.get(vmId) ?? 0;
      truncateSync(`${savedIn(vmId)}/memory`, mib * 2 ** 20);
      return { memoryMib: mib };
    },
    async clearRoom(vmId) {
      if (host.unreachable) throw vmmFail("UNAVAILABLE", "the host cannot be reached");
      clear(vmId);
    },
    async put(vmId, channel, bytes, signal) {
      requireRunning(vmId);
      const name = channel === "incoming" ? "state" : "memory";
      const [shortest, longest] = boundsOf(vmId, name);
      const path = `${savedIn(vmId)}/${name}`;
      await using file = await openFile(path, "wx");
      let written = 0;
      try {
        for await (const piece of bytes) {
          signal.throwIfAborted();
          written += (await file.write(piece)).bytesWritten;
        }
        if (written < shortest || written > longest) throw vmmFail("UNAVAILABLE", `${name} has ${written} bytes`);
      } catch (error) {
        rmSync(path, { force: true });
        throw error;
      }
    },
    async connect(vmId, channel) {
      requireRunning(vmId);
      const name = `${vmId} ${channel}`;
      if (channels.has(name)) throw busy();
      const stream = await open(vmId, channel);
      channels.set(name, stream);
      stream.on("error", () => {}).once("close", () => channels.delete(name));
      return stream;
    },
    async place(vmId) {
      if (host.placeFailure !== undefined) throw host.placeFailure;
      clear(vmId);
      if (host.stub(vmId).machine.state === "Not started") throw vmmFail("WRONG_STATE", "there is no timer thread yet");
    },
    async stop(vmId) {
      if (host.stopFailure !== undefined) throw host.stopFailure;
      running.delete(vmId);
      end(vmId);
      await fake.stop(vmId);
    },
    async remove(vmId) {
      await fake.remove(vmId);
      running.delete(vmId);
      end(vmId);
    },
    stub(vmId) {
      const stub = stubs.get(vmId);
      if (stub === undefined) throw new Error(`no VMM of ${vmId}`);
      return stub;
    },
    exit(vmId) {
      running.delete(vmId);
      end(vmId);
      fake.exit(vmId);
    },
    dropChannels() {
      for (const stream of channels.values()) stream.destroy();
    },
    get openChannels() {
      return channels.size;
    },
    leftovers: () => readdirSync(base),
    identityDrive: (vmId) => fake.identityDrive(vmId) ?? new Uint8Array(),
    close() {
      for (const vmId of stubs.keys()) end(vmId);
      running.clear();
      rmSync(base, { recursive: true, force: true });
    },
  };
  return host;
}
