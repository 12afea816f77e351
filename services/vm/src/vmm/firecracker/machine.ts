import type { Duplex } from "node:stream";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { vmmFail } from "../port.ts";
import { type ApiDeadlines, createFirecrackerApi, type FirecrackerApi } from "./api-client.ts";
import { drain } from "./drain.ts";
import type { Channel, FirecrackerHost } from "./host.ts";
import { type HttpConnection, openHttpConnection } from "./http-connection.ts";
import { createMetricsReader, type MetricCounters } from "./metrics-reader.ts";
import { createOutputRing, type OutputRing } from "./output-ring.ts";
import { escapeUntrusted } from "./untrusted-text.ts";
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
  let live: { readonly connection: HttpConnection; readonly api: FirecrackerApi } | undefined;
  let connecting: Promise<FirecrackerApi> | undefined;
  let closed = false;

  const open = (channel: Channel) => {
    if (closed) throw vmmFail("UNAVAILABLE", "the machine is not managed any more");
    return openChannel(host, vmId, channel);
  };
  const current = () => (live?.connection.closed === false ? live : undefined);
  const verify = async (stream: Duplex): Promise<FirecrackerApi> => {
    const connection = openHttpConnection(stream);
    const api = createFirecrackerApi(connection, deadlines);
    live = { connection, api };
    if (closed) connection.close();
    try {
      const { id } = await api.getInstance();
      if (id === vmId) return api;
      throw vmmFail("MACHINE_MISMATCH", `the VMM is that of ${escapeUntrusted(id, 64)}, not of ${vmId}`);
    } catch (error) {
      connection.close();
      throw error;
    }
  };
  const connect = async () => await verify(await open("api"));
  const reconnect = () => {
    connecting ??= connect().finally(() => {
      connecting = undefined;
    });
    return connecting;
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

  return {
    outputs: { log, serial, metrics: metrics.counters },
    api: async () => connecting ?? current()?.api ?? reconnect(),
    openOutputs,
    async ping() {
      // A call that is under way, or a connection that is being made, has a deadline of its own, which may be longer.
      if (connecting !== undefined || current()?.connection.busy) return "unknown";
      const known = current();
      if (known !== undefined) await known.api.getInstance();
      else {
        const { outcome, stream } = await reach(openOutputs, () => open("api"));
        if (stream === undefined) return outcome;
        await verify(stream);
      }
      return "answers";
    },
    close() {
      closed = true;
      live?.connection.close();
      for (const end of reading.values()) end();
    },
  };
}

/** A host that cannot be asked says nothing of the VMM; one that does not know it says that it has ended. */
async function reach(
  openOutputs: () => Promise<void>,
  openApi: () => Promise<Duplex>,
): Promise<{ readonly outcome: PingOutcome; readonly stream?: Duplex }> {
  try {
    await openOutputs();
    return { outcome: "answers", stream: await openApi() };
  } catch (error) {
    return { outcome: reasonOf(error) === "NOT_FOUND" ? "ended" : "unknown" };
  }
}

async function openChannel(host: FirecrackerHost, vmId: string, channel: Channel): Promise<Duplex> {
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
