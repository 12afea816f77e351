import type { Duplex } from "node:stream";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { vmmFail } from "../port.ts";
import type { ApiDeadlines, FirecrackerApi } from "./api-client.ts";
import { drain } from "./drain.ts";
import type { Channel, FirecrackerHost } from "./host.ts";
import { keepApi } from "./kept-api.ts";
import { createMetricsReader, type MetricCounters } from "./metrics-reader.ts";
import { createOutputRing, type OutputRing } from "./output-ring.ts";
import type { PingOutcome } from "./watchdog.ts";

const logBytes = 4 * 1024 * 1024;
const serialBytes = 1024 * 1024;
/** The host lets go of a channel a moment after this side has closed it. */
const channelFreeWithin = { timeoutMs: 1_000, intervalMs: 20 };

/** What a VMM writes, as far as it is kept. */
export interface MachineOutputs {
  readonly log: OutputRing;
  readonly serial: OutputRing;
  readonly metrics: MetricCounters;
}

/** One VMM process as this process knows it: its API connection and its outputs. */
export interface Machine {
  readonly outputs: MachineOutputs;
  /**
   * The API over the connection that is kept. Where there is none, or it has ended, a new one is made, and belongs to this VM or is refused.
   * Errors: those of the host's `connect`, MACHINE_MISMATCH, and those of the API.
   */
  api(): Promise<FirecrackerApi>;
  /** Reads the outputs that are not being read; the VMM opens them only when somebody does. */
  openOutputs(): Promise<void>;
  ping(): Promise<PingOutcome>;
  /** Ends every connection; what was written is kept. */
  close(): void;
}

export function openMachine(host: FirecrackerHost, vmId: string, deadlines: ApiDeadlines): Machine {
  const log = createOutputRing(logBytes);
  const serial = createOutputRing(serialBytes);
  const metrics = createMetricsReader();
  const writers = { log: log.write, serial: serial.write, metrics: metrics.write };
  const reading = new Map<Channel, () => void>();
  let closed = false;

  let refusal: unknown;

  const open = async (channel: Channel) => {
    if (closed) throw vmmFail("UNAVAILABLE", "the machine is not managed any more");
    try {
      return await openChannel(host, vmId, channel);
    } catch (error) {
      refusal = error;
      throw error;
    }
  };
  const openOutputs = async () => {
    for (const [channel, write] of Object.entries(writers) as [keyof typeof writers, (chunk: Buffer) => void][]) {
      if (reading.has(channel)) continue;
      const stream = await open(channel);
      reading.set(channel, () => stream.destroy());
      drain(stream, write, () => reading.delete(channel));
      if (closed) stream.destroy();
    }
  };
  const api = keepApi(vmId, () => open("api"), deadlines);

  return {
    outputs: { log, serial, metrics: metrics.counters },
    api: api.get,
    openOutputs,
    async ping() {
      // A call that is under way has a deadline of its own, which may be longer.
      if (api.state === "busy") return "unknown";
      const isNew = api.state === "none";
      try {
        await openOutputs();
        if (isNew) await api.get();
        else await (await api.get()).getInstance();
      } catch (error) {
        if (error !== refusal) throw error;
        return outcomeOfRefusal(error);
      }
      return "answers";
    },
    close() {
      closed = true;
      api.close();
      for (const end of reading.values()) end();
    },
  };
}

/**
 * What it says of a VMM that the host opens no channel to it. A host that cannot be asked says nothing, one that does not know it says that it
 * has ended; any other refusal is about what stands in the jail, and counts as no answer.
 */
function outcomeOfRefusal(error: unknown): PingOutcome {
  switch (reasonOf(error)) {
    case "NOT_FOUND":
      return "ended";
    case "UNAVAILABLE":
    case "TIMED_OUT":
    case "CHANNEL_BUSY":
      return "unknown";
    default:
      throw error;
  }
}

/** Waits a moment for a channel that was just closed. */
export async function openChannel(host: FirecrackerHost, vmId: string, channel: Channel): Promise<Duplex> {
  let busy: unknown;
  const attempt = async () => {
    try {
      return await host.connect(vmId, channel);
    } catch (error) {
      if (reasonOf(error) !== "CHANNEL_BUSY") throw error;
      busy = error;
      return undefined;
    }
  };
  try {
    return await waitFor(`the ${channel} channel`, attempt, channelFreeWithin);
  } catch (error) {
    throw reasonOf(error) === undefined ? busy : error;
  }
}
