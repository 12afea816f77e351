import type { Duplex, Readable, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { release } from "@lobsterd/chassis/release.ts";
import { type VmmDescription, type VmStart, vmmFail } from "../port.ts";
import { corrupt, frameState, openReader, unframeState } from "../saved-state.ts";
import { arriving, noteFailure, openFlow, portFailure } from "../state-flow.ts";
import type { FirecrackerApi } from "./api-client.ts";
import type { FirecrackerHost } from "./host.ts";
import { openChannel } from "./machine.ts";
import { snapshotCreation } from "./machine-document.ts";

/**
 * Firecracker saves into two files, `state` (devices and CPUs) and `memory`. In the frames are the length of `state` (4 bytes, big endian), `state`, and
 * `memory`, which is as long as the guest's memory.
 */
const mib = 1024 * 1024;
/** As the host bounds it. */
const maxStateBytes = 16 * mib;

export interface SavedMachineOptions {
  /** A save or load of which no byte passes for this long is given up; a minute by default. */
  readonly stallMs?: number | undefined;
}

interface Saving extends SavedMachineOptions {
  readonly vmId: string;
  /** Of the VM as it runs now, over the connection that is kept or a new one. */
  api(): Promise<FirecrackerApi>;
}

/** Pauses a running guest and writes its state to `sink`. The guest stays paused when it is complete, and runs after any failure unless its VMM ended. */
export async function saveMachine(
  host: FirecrackerHost,
  sink: Writable,
  saving: Saving,
): Promise<{ readonly bytes: number }> {
  sink.on("error", () => {}); // it may fail before it is written to, which then tells it
  const [description, api] = await Promise.all([host.describe(), saving.api()]);
  const { state } = await api.getInstance();
  if (state !== "Running") throw vmmFail("WRONG_STATE", `it does not run: ${state}`);
  try {
    const written = await write(host, api, saving).catch((error: unknown) => {
      throw endedOf(error);
    });
    return await send(written, sink, { api, description, stallMs: saving.stallMs });
  } catch (error) {
    await goOnAfter(host, saving, error);
    throw error;
  }
}

/** What the VMM of a paused guest wrote. */
interface Written {
  readonly state: readonly Buffer[];
  readonly memory: Duplex;
  readonly memoryBytes: number;
}

async function write(host: FirecrackerHost, api: FirecrackerApi, { vmId, stallMs }: Saving): Promise<Written> {
  const { memoryMib } = await host.makeRoom(vmId);
  await api.pause();
  await api.createSnapshot(snapshotCreation);
  const state = await readState(host, vmId, stallMs);
  return { state, memory: await openChannel(host, vmId, "memory"), memoryBytes: memoryMib * mib };
}

interface Sending extends SavedMachineOptions {
  readonly api: FirecrackerApi;
  readonly description: VmmDescription;
}

/** Throws what the sink fails with as it is. */
async function send(
  { state, memory, memoryBytes }: Written,
  sink: Writable,
  { api, description, stallMs }: Sending,
): Promise<{ readonly bytes: number }> {
  memory.on("error", () => {}); // whoever reads it is told
  const flow = openFlow(Number.POSITIVE_INFINITY, stallMs);
  const contents = async function* () {
    yield lengthOf(state);
    yield* state;
    yield* exactly(arriving(memory), memoryBytes);
  };
  // A launcher that was killed ends its streams as if they were whole. This connection, which it carries too, would not answer then.
  const complete = async () => {
    const { state: now } = await api.getInstance();
    if (now !== "Paused") throw vmmFail("VMM_FAILED", `the VM is ${now} though it was paused to be saved`);
  };
  const frames = async function* () {
    try {
      yield* frameState(description, contents(), complete);
    } catch (error) {
      throw endedOf(portFailure(error));
    }
  };
  try {
    await pipeline(flow.watch(frames(), memory), sink, { signal: flow.signal });
    return { bytes: flow.bytes() };
  } catch (error) {
    throw flow.cause(error);
  } finally {
    flow.end();
    memory.destroy();
  }
}

/** The whole of it, whose length goes before it. */
async function readState(host: FirecrackerHost, vmId: string, stallMs?: number): Promise<readonly Buffer[]> {
  const channel = await openChannel(host, vmId, "state");
  channel.on("error", () => {}); // whoever reads it is told
  const flow = openFlow(maxStateBytes, stallMs);
  try {
    const pieces = await Array.fromAsync(flow.watch(arriving(channel), channel));
    if (flow.bytes() === 0) throw vmmFail("VMM_FAILED", "the VMM saved an empty state");
    return pieces;
  } catch (error) {
    throw portFailure(flow.cause(error));
  } finally {
    flow.end();
    channel.destroy();
  }
}

async function* exactly(memory: AsyncIterable<Buffer>, bytes: number): AsyncGenerator<Buffer> {
  let passed = 0;
  for await (const piece of memory) {
    passed += piece.length;
    if (passed > bytes) break;
    yield piece;
  }
  if (passed !== bytes) throw vmmFail("VMM_FAILED", `the memory was not ${bytes} bytes long`);
}

function lengthOf(pieces: readonly Buffer[]): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(pieces.reduce((bytes, piece) => bytes + piece.length, 0));
  return length;
}

/** The guest runs again after a save that failed, and nothing is left of it. What failed may be the connection: a second time it is another one. */
async function goOnAfter(host: FirecrackerHost, { vmId, api }: Saving, failure: unknown): Promise<void> {
  const goOn = async () => {
    await letGoOn(await api());
    await host.clearRoom(vmId);
  };
  try {
    await goOn().catch(goOn);
  } catch (cause) {
    // It ended; what it had written goes with the rest of its run.
    if (reasonOf(cause) === "NOT_FOUND") return await host.stop(vmId).catch(() => undefined);
    const message = `the state was not saved (${reasonOf(failure) ?? "its sink failed"}), and the guest may be paused`;
    throw vmmFail("UNAVAILABLE", message, { cause: new AggregateError([failure, cause], message) });
  }
}

/** Lets a paused guest run; does nothing to one that does. */
export async function letGoOn(api: FirecrackerApi): Promise<void> {
  if ((await api.getInstance()).state === "Paused") await api.resume();
}

/** A channel that ended is one whose VMM has, or a launcher's that was restarted. Either way this attempt is over, and nobody waits for it any more. */
function endedOf(failure: unknown): unknown {
  const reason = reasonOf(failure);
  if (reason !== "UNAVAILABLE" && reason !== "NOT_FOUND") return failure;
  return vmmFail("VMM_FAILED", (failure as Error).message, { cause: failure });
}

/**
 * Sends the files of a state to a VMM that waits for them. Nothing is loaded before the last byte of both was there, and none came behind them. Throws what the state itself
 * fails with as it is.
 */
export async function receiveFiles(
  host: FirecrackerHost,
  { vmId, memoryMib }: VmStart,
  state: Readable,
  { stallMs }: SavedMachineOptions,
): Promise<void> {
  const source = noteFailure(state);
  const flow = openFlow(Number.POSITIVE_INFINITY, stallMs);
  try {
    const parts = openReader(unframeState(await host.describe(), flow.watch(source.read(), state), release));
    const stateBytes = (await parts.take(4)).readUInt32BE();
    if (stateBytes > maxStateBytes) throw corrupt("a length is too long");
    await host.put(vmId, "incoming", parts.pass(stateBytes), flow.signal);
    await host.put(vmId, "incomingMemory", parts.pass(memoryMib * mib), flow.signal);
    if (!(await parts.atEnd())) throw corrupt("it is too long");
  } catch (error) {
    throw source.failure() ?? endedOf(portFailure(flow.cause(error)));
  } finally {
    flow.end();
  }
}
