import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { type Duplex, duplexPair } from "node:stream";
import { createFakeVmm, type FakeVmm, type FakeVmmOptions } from "../../fake.ts";
import { vmmFail } from "../../port.ts";
import type { QemuChannel, QemuHost } from "../adapter.ts";

type Json = Readonly<Record<string, unknown>>;

/** What a stub VMM does wrong from now on. */
export type StubFault =
  | "refuses to migrate"
  | "fails the migration"
  | "ends in the migration"
  | "claims a migration that was cut off"
  | "hangs in the migration"
  | "does not go on"
  | "runs what it loads";

/** One QEMU as its monitor shows it. */
interface StubQemu {
  status: string;
  migration: string;
  memory: string;
  /** The launcher's side of the state's way out. */
  state?: Duplex;
}

/** A host whose VMMs are stubs in this process: their monitors speak the protocol, their states pass over streams. */
export interface StubQemuHost extends QemuHost {
  readonly fake: FakeVmm;
  fault: StubFault | undefined;
  stub(vmId: string): StubQemu;
  exit(vmId: string): void;
}

const stateBytes = 3_000_000;

/** A whole state as soon as it is there, as QEMU knows where it ends, or what came instead. */
async function received(incoming: Duplex): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  incoming.on("data", (chunk: Buffer) => {
    chunks.push(chunk);
    length += chunk.length;
    if (length >= stateBytes) incoming.emit("whole");
  });
  await Promise.race(["whole", "end", "close"].map((event) => once(incoming, event).catch(() => undefined)));
  return Buffer.concat(chunks);
}

export function createStubQemuHost(options: FakeVmmOptions = {}): StubQemuHost {
  const fake = createFakeVmm(options);
  const stubs = new Map<string, StubQemu>();
  const channels = new Map<string, Set<Duplex>>();
  const exit = (vmId: string) => {
    fake.exit(vmId);
    end(vmId);
  };
  const end = (vmId: string) => {
    stubs.delete(vmId);
    for (const channel of channels.get(vmId) ?? []) channel.destroy();
    channels.delete(vmId);
  };
  const stateOf = (stub: StubQemu) => Buffer.alloc(stateBytes, `QEVM${stub.memory}\n`);
  const take = async (vmId: string, stub: StubQemu, incoming: Duplex) => {
    const state = await received(incoming);
    const memory = /^QEVM(.{36})\n/.exec(state.toString("latin1"))?.[1];
    if (memory === undefined || state.length !== stateBytes) return stubs.get(vmId) === stub && exit(vmId);
    Object.assign(stub, { memory, status: host.fault === "runs what it loads" ? "running" : "paused" });
    incoming.end();
  };
  const migrate = (vmId: string, stub: StubQemu): Json => {
    const { fault } = host;
    if (fault === "refuses to migrate") return { error: { class: "GenericError", desc: "no" } };
    if (stub.state === undefined || fault === "fails the migration") {
      stub.migration = "failed";
      return { return: {} };
    }
    stub.migration = "active";
    const { state } = stub;
    state.once("close", () => {
      if (stub.migration === "active" && fault !== "hangs in the migration") stub.migration = "failed";
    });
    if (fault === "ends in the migration") exit(vmId);
    else if (fault === "hangs in the migration") state.write("some");
    else if (fault === "claims a migration that was cut off") state.destroy();
    else
      state.end(stateOf(stub), () => {
        Object.assign(stub, { migration: "completed", status: "postmigrate" });
      });
    return { return: {} };
  };
  const answer = (vmId: string, stub: StubQemu, command: string): readonly Json[] => {
    switch (command) {
      case "query-status":
        return [{ return: { status: stub.status, running: stub.status === "running" } }];
      case "query-migrate":
        return [{ return: stub.migration === "none" ? {} : { status: stub.migration } }];
      case "stop":
        stub.status = "paused";
        return [{ event: "STOP" }, { return: {} }];
      case "cont":
        if (host.fault === "does not go on") return [{ return: {} }];
        stub.status = "running";
        return [{ event: "RESUME" }, { return: {} }];
      case "migrate_cancel":
        if (stub.migration === "active") stub.migration = "cancelled";
        return [{ return: {} }];
      case "migrate":
        return [migrate(vmId, stub)];
      default:
        return [{ return: {} }];
    }
  };
  const converse = (vmId: string, stub: StubQemu, channel: Duplex) => {
    channel.write('{"QMP": {}}\n');
    channel.on("data", (chunk: Buffer) => {
      for (const line of String(chunk).split("\n").filter(Boolean)) {
        const { execute, id } = JSON.parse(line) as { execute: string; id: number };
        for (const message of answer(vmId, stub, execute)) {
          if (!channel.destroyed)
            channel.write(`${JSON.stringify("event" in message ? message : { ...message, id })}\n`);
        }
      }
    });
  };
  const host: StubQemuHost = {
    ...fake,
    fake,
    fault: undefined,
    describe: async () => ({ ...(await fake.describe()), vmm: "qemu", version: "7.2.0" }),
    async inspect(vmId) {
      const seen = await fake.inspect(vmId);
      return { ...seen, cgroup: { ...seen.cgroup, "memory.max": "4000000" } };
    },
    async start(start) {
      const report = await fake.start(start);
      stubs.set(start.vmId, { status: "running", migration: "none", memory: randomUUID() });
      return report;
    },
    async startWaiting(start) {
      const report = await fake.start(start);
      stubs.set(start.vmId, { status: "inmigrate", migration: "none", memory: "" });
      return report;
    },
    async connect(vmId: string, channel: QemuChannel) {
      const stub = stubs.get(vmId);
      if (stub === undefined) throw vmmFail("NOT_FOUND", "it does not run");
      // As a socket: its peer's end is noticed whether or not anyone reads, and ends it.
      const [own, theirs] = duplexPair({ allowHalfOpen: false });
      if (channel === "incoming") theirs.resume();
      for (const side of [own, theirs])
        side.on("error", () => {}).once("close", () => other(side, own, theirs).destroy());
      channels.set(vmId, (channels.get(vmId) ?? new Set()).add(own));
      if (channel === "api") converse(vmId, stub, own);
      else if (channel === "state") stub.state = own;
      else void take(vmId, stub, own);
      return theirs;
    },
    async stop(vmId) {
      await fake.stop(vmId);
      end(vmId);
    },
    async remove(vmId) {
      await fake.remove(vmId);
      end(vmId);
    },
    stub(vmId) {
      const stub = stubs.get(vmId);
      if (stub === undefined) throw new Error(`no VMM of ${vmId}`);
      return stub;
    },
    exit,
  };
  return host;
}

const other = (side: Duplex, first: Duplex, second: Duplex): Duplex => (side === first ? second : first);
