import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { constants, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, Socket } from "node:net";
import { tmpdir } from "node:os";
import { Code } from "@connectrpc/connect";
import { ServiceError } from "@lobsterd/chassis/errors.ts";
import { createFakeVmm, type FakeVmmOptions } from "../../fake.ts";
import { vmmFail } from "../../port.ts";
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
  /** The state file that VMMs find when they start; and whether they run what they load, against their orders. */
  snapshotState: string | undefined;
  resumesAtLoad: boolean;
  /** The state file that a VMM wrote. */
  readState(vmId: string): string;
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
  const channels = new Map<string, Socket>();

  const end = (vmId: string) => {
    stubs.get(vmId)?.close();
    for (const [name, socket] of channels) if (name.startsWith(vmId)) socket.destroy();
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
    if (host.snapshotState !== undefined) {
      writeFileSync(`${root}/saved/state`, host.snapshotState);
      writeFileSync(`${root}/saved/memory`, "");
    }
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
  const open = async (vmId: string, channel: Channel): Promise<Socket> => {
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
    snapshotState: undefined,
    resumesAtLoad: false,
    readState: (vmId) => readFileSync(`${rootOf(vmId)}/saved/state`, "utf8"),
    async start(start) {
      const report = await fake.start(start);
      await boot(start.vmId);
      running.add(start.vmId);
      return report;
    },
    async connect(vmId, channel) {
      if (host.unreachable) throw vmmFail("UNAVAILABLE", "the host cannot be reached");
      if (!running.has(vmId)) throw vmmFail("NOT_FOUND", "it does not run");
      const name = `${vmId} ${channel}`;
      if (channels.has(name)) throw busy();
      const socket = await open(vmId, channel);
      channels.set(name, socket);
      socket.on("error", () => {}).once("close", () => channels.delete(name));
      return socket;
    },
    async place(vmId) {
      if (host.placeFailure !== undefined) throw host.placeFailure;
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
      for (const socket of channels.values()) socket.destroy();
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
