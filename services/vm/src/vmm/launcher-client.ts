import { connect, type Socket } from "node:net";
import { addAbortSignal, type Duplex } from "node:stream";
import { pipeline } from "node:stream/promises";
import { ServiceError } from "@lobsterd/chassis/errors.ts";
import { currentTraceparent } from "@lobsterd/chassis/tracing.ts";
import {
  type Arguments,
  answerSchema,
  type Channel,
  maxMessageBytes,
  type Result,
  type StreamVerb,
  streamVerbs,
  type Verb,
  verbArguments,
  verbResults,
} from "../launcher/protocol.ts";
import { type VmmHost, type VmStart, type VmStartReport, vmmFail } from "./port.ts";
import { noteFailure, writesTo } from "./state-flow.ts";

/** The launcher takes 64 exchanges at a time and drops the next one; others may use it beside this process. */
const maxInFlight = 12;
/** The first "api" channel of a VM may wait for another VM's boot: it must not take the connection that the other one needs to get on. */
const maxWaitingChannels = 32;

const deadlinesMs: Readonly<Record<Verb, number>> = {
  describe: 5_000,
  list: 5_000,
  inspect: 5_000,
  emptyIdentityDrive: 5_000,
  prepare: 40_000,
  start: 90_000, // the guest may be waited for, to be saved
  load: 40_000,
  connect: 40_000, // may wait until another VM has booted
  place: 10_000,
  makeRoom: 20_000,
  clearRoom: 5_000,
  readDisk: 150_000, // the disk is copied first
  writeDisk: 20_000,
  replaceDisk: 20_000,
  stop: 20_000,
  remove: 40_000,
};

export interface LauncherClientOptions {
  readonly socketPath: string;
  /** Replaces every verb's own deadline. */
  readonly deadlineMs?: number;
}

/** The launcher's verbs as a host of VMMs, and those that only whoever speaks with a VMM needs. */
export interface LauncherClient extends VmmHost {
  /**
   * Like `start`, but the VMM waits for the VM's state on the channel "incoming": no guest code has run, and none runs before the VMM
   * is told so over the channel "api". Errors: those of `start`.
   */
  startWaiting(start: VmStart): Promise<VmStartReport>;

  /** Kills the VM and its identity drive; it is listed as exited. Safe to repeat. Errors: NOT_FOUND. */
  stop(vmId: string): Promise<void>;

  /**
   * Opens a channel of a running VMM; one connection per VM and channel. The launcher neither reads nor changes what passes: every byte is
   * as hostile as the VMM that sent it. The caller ends the stream. It closes without an error when the launcher or the VMM ends.
   * Errors: NOT_FOUND, WRONG_STATE (this VMM has no such channel), CHANNEL_BUSY, HOST_UNSAFE (what stands there is not the VMM's own).
   */
  connect(vmId: string, channel: Channel): Promise<Duplex>;

  /**
   * Puts the VM's timer thread (`kvm-pit`) into its cgroup and reads the whole process back. To be called after every InstanceStart and
   * every snapshot load; until then no other VM's "api" channel opens for the first time. A VM that fails this is dead.
   * Errors: NOT_FOUND, JAIL_MISMATCH, KVM_PIT_UNPLACED.
   */
  place(vmId: string): Promise<Result<"place">>;

  /**
   * Makes the two files new into which the VM's VMM is about to save, with all of their memory. Errors: NOT_FOUND, WRONG_STATE (this VMM does not save into files),
   * VMM_FAILED (there is no room), HOST_UNSAFE.
   */
  makeRoom(vmId: string): Promise<Result<"makeRoom">>;

  /** Takes away what is left of them. Safe to repeat. Errors: NOT_FOUND. */
  clearRoom(vmId: string): Promise<void>;

  /**
   * Sends a file that the VM's VMM is to load. On return all of it is there; what `bytes` fails with is thrown as it is. A piece is nobody's when the next one is
   * asked for. Errors: those of `connect`, VMM_FAILED (there is no room), UNAVAILABLE.
   */
  put(vmId: string, channel: LoadedFile, bytes: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void>;
}

/** Channels into the files that a VMM loads. */
export type LoadedFile = Extract<Channel, "incoming" | "incomingMemory">;

/** The VMM port over the launcher's Unix socket: one connection a call, bounded in size and time. */
export function openLauncherClient(options: LauncherClientOptions): LauncherClient {
  const turns = openTurns(maxInFlight);
  const channelTurns = openTurns(maxWaitingChannels);
  const send = async <T>(
    verb: Verb,
    values: Arguments<Verb>,
    exchangeOne: (path: string, request: string, signal: AbortSignal) => Promise<T>,
  ): Promise<T> => {
    const checked = verbArguments[verb].safeParse(values);
    if (!checked.success) {
      const fields = checked.error.issues.map((issue) => issue.path.join(".")).join(", ");
      throw vmmFail("INVALID_REQUEST", `${verb}: ${fields} not valid`, { metadata: { field: fields } });
    }
    const traceparent = currentTraceparent();
    const request = JSON.stringify({ verb, arguments: values, ...(traceparent === undefined ? {} : { traceparent }) });
    const signal = AbortSignal.timeout(options.deadlineMs ?? deadlinesMs[verb]);
    const work = () => exchangeOne(options.socketPath, `${request}\n`, signal);
    return (isStream(verb) ? channelTurns : turns)(signal, work).catch((error: unknown) => {
      throw signal.aborted
        ? vmmFail("TIMED_OUT", `the launcher did not answer ${verb} in time`, { cause: error })
        : error;
    });
  };
  const call = async <V extends Verb>(verb: V, values: Arguments<V>): Promise<Result<V>> =>
    readAnswer(verb, await send(verb, values, exchange));
  const openStream = async <V extends StreamVerb>(verb: V, values: Arguments<V>): Promise<Duplex> => {
    const { answer, socket } = await send(verb, values, openChannel);
    try {
      readAnswer(verb, answer);
      return socket;
    } catch (error) {
      socket.destroy();
      throw error;
    }
  };
  return {
    async describe() {
      const { name, ...rest } = await call("describe", {});
      return { vmm: name, ...rest };
    },
    async prepare({ vmId, slot, image, overlayMib, diskKey }) {
      await call("prepare", { vmId, slot, image, overlayMib, diskKey: base64Of(diskKey) });
    },
    start: (start) => call("start", { ...startArguments(start), useTemplate: start.useTemplate }),
    startWaiting: (start) => call("load", startArguments(start)),
    async list() {
      const { vms } = await call("list", {});
      return vms.map(({ slot, ...vm }) => (slot === undefined ? vm : { ...vm, slot }));
    },
    connect: (vmId, channel) => openStream("connect", { vmId, channel }),
    readDisk: (vmId) => openStream("readDisk", { vmId }),
    async writeDisk(vmId, disk) {
      const stream = await openStream("writeDisk", { vmId });
      readAnswer("writeDisk", await exchangeFile(stream, disk));
    },
    async replaceDisk(vmId) {
      await call("replaceDisk", { vmId });
    },
    place: (vmId) => call("place", { vmId }),
    makeRoom: (vmId) => call("makeRoom", { vmId }),
    async clearRoom(vmId) {
      await call("clearRoom", { vmId });
    },
    async put(vmId, channel, bytes, signal) {
      const stream = addAbortSignal(signal, await openStream("connect", { vmId, channel }));
      readAnswer("connect", await exchangeFile(stream, bytes));
    },
    inspect: (vmId) => call("inspect", { vmId }),
    async emptyIdentityDrive(vmId) {
      await call("emptyIdentityDrive", { vmId });
    },
    async stop(vmId) {
      await call("stop", { vmId });
    },
    async remove(vmId) {
      await call("remove", { vmId });
    },
  };
}

const isStream = (verb: Verb) => (streamVerbs as readonly Verb[]).includes(verb);

/** Sends a file and returns the line that comes back when all of it is there; ends the stream whatever happens. */
async function exchangeFile(stream: Duplex, bytes: AsyncIterable<Uint8Array>): Promise<string> {
  const source = noteFailure(bytes);
  try {
    const sending = pipeline(source.read(), writesTo(stream)).then(() => void stream.end());
    const [answer] = await Promise.all([readLine(stream), sending]);
    return answer;
  } catch (cause) {
    if (source.failure() !== undefined) throw source.failure();
    if (cause instanceof ServiceError) throw cause;
    throw vmmFail("UNAVAILABLE", "the launcher did not take the file", { cause });
  } finally {
    stream.destroy();
  }
}

async function readLine(stream: Duplex): Promise<string> {
  let text = "";
  for await (const chunk of stream) {
    text += String(chunk);
    if (text.length > maxMessageBytes) throw vmmFail("INVALID_ANSWER", "the launcher's answer is too long");
  }
  if (!text.endsWith("\n")) throw vmmFail("UNAVAILABLE", "the launcher did not take the file");
  return text;
}

function startArguments(start: VmStart): Arguments<"load"> {
  const { vmId, slot, image, vcpuCount, memoryMib, generation, identityDrive } = start;
  return { vmId, slot, image, vcpuCount, memoryMib, generation, identityDrive: base64Of(identityDrive) };
}

function base64Of({ buffer, byteOffset, byteLength }: Uint8Array): string {
  return Buffer.from(buffer, byteOffset, byteLength).toString("base64");
}

function readAnswer<V extends Verb>(verb: V, text: string): Result<V> {
  const answer = answerSchema.safeParse(parseJson(text));
  if (!answer.success) throw vmmFail("INVALID_ANSWER", `the launcher's answer to ${verb} is malformed`);
  if (!answer.data.ok) throw vmmFail(answer.data.reason, `${verb}: ${answer.data.message}`);
  const result = verbResults[verb].safeParse(answer.data.result);
  if (!result.success) throw vmmFail("INVALID_ANSWER", `the launcher's result of ${verb} is malformed`);
  return result.data as Result<V>;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // the schema refuses it
  }
}

/** Sends one line and returns the line that comes back. A socket that is gone, or closes without an answer, is UNAVAILABLE. */
function exchange(path: string, request: string, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    const chunks: Buffer[] = [];
    let size = 0;
    const stop = () => socket.destroy(new Error("deadline exceeded"));
    signal.addEventListener("abort", stop);
    socket.on("error", (error) => reject(vmmFail("UNAVAILABLE", "the launcher cannot be reached", { cause: error })));
    socket.on("close", () => {
      signal.removeEventListener("abort", stop);
      const text = Buffer.concat(chunks).toString("utf8");
      if (text.endsWith("\n")) resolve(text);
      else reject(vmmFail("UNAVAILABLE", "the launcher closed the connection without an answer"));
    });
    socket.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      size += chunk.length;
      if (size <= maxMessageBytes) return;
      reject(vmmFail("INVALID_ANSWER", "the launcher's answer is too long"));
      socket.destroy();
    });
    socket.end(request);
    if (signal.aborted) stop();
  });
}

/** Sends one line and returns the line that comes back, and the connection with whatever follows the line still to be read. */
function openChannel(
  path: string,
  request: string,
  signal: AbortSignal,
): Promise<{ readonly answer: string; readonly socket: Socket }> {
  return new Promise((resolve, reject) => {
    const socket = connect(path, () => socket.write(request));
    let received = Buffer.alloc(0);
    const settle = () => {
      signal.removeEventListener("abort", giveUp);
      socket.off("readable", read).off("close", closed);
    };
    const giveUp = () => {
      settle();
      socket.destroy();
      reject(new Error("deadline exceeded"));
    };
    const closed = () => {
      settle();
      reject(vmmFail("UNAVAILABLE", "the launcher cannot be reached, or closed the connection without an answer"));
    };
    const read = () => {
      received = Buffer.concat([received, (socket.read() as Buffer | null) ?? Buffer.alloc(0)]);
      const end = received.indexOf(10) + 1;
      if (end === 0 && received.length <= maxMessageBytes) return;
      settle();
      if (end === 0) {
        socket.destroy();
        reject(vmmFail("INVALID_ANSWER", "the launcher's answer is too long"));
        return;
      }
      if (end < received.length) socket.unshift(received.subarray(end));
      resolve({ answer: received.subarray(0, end).toString("utf8"), socket });
    };
    // A connection that fails also closes; what it failed of is nobody's business once the channel is handed over.
    socket
      .on("error", () => {})
      .on("close", closed)
      .on("readable", read);
    signal.addEventListener("abort", giveUp);
    if (signal.aborted) giveUp();
  });
}

/** Lets at most `limit` calls run at a time; the others wait in order until `signal` aborts. */
function openTurns(limit: number) {
  let running = 0;
  const waiting = new Set<() => void>();
  return async <T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> => {
    if (running >= limit) {
      await new Promise<void>((resolve, reject) => {
        const wake = () => {
          signal.removeEventListener("abort", giveUp);
          resolve();
        };
        const giveUp = () => {
          waiting.delete(wake);
          reject(new Error("deadline exceeded while waiting for a connection"));
        };
        signal.addEventListener("abort", giveUp);
        waiting.add(wake);
      });
    } else running += 1;
    try {
      return await work();
    } finally {
      const [next] = waiting;
      if (next === undefined) running -= 1;
      else {
        waiting.delete(next);
        next();
      }
    }
  };
}
