import { setTimeout as delay } from "node:timers/promises";
import {
  DiscardPolicy,
  JetStreamApiError,
  type JetStreamClient,
  type JetStreamManager,
  jetstream,
  jetstreamManager,
  RetentionPolicy,
  StorageType,
} from "@nats-io/jetstream";
import { connect, type NatsConnection, nanos } from "@nats-io/transport-node";
import { chassisMetrics } from "./chassis-metrics.ts";
import type { TlsFiles } from "./listener.ts";
import type { Logger } from "./logger.ts";
import { raceSignal } from "./streams.ts";
import { currentStamp, followCredential } from "./tls-credential.ts";

const firstRetryMs = 100;
const maxRetryMs = 2000;
const connectLimitMs = 2000;
const requestLimitMs = 2000;
const hourMs = 3_600_000;
const drainLimitMs = 1000;
const streamInUse = 10058;
const lookAtCertificateMs = 1000;

/** The names that services and the broker's permissions agree on. */
export function streamOf(service: string): { name: string; subjects: string } {
  return { name: `LOBSTERD_${service.toUpperCase()}`, subjects: `${service}.v1.>` };
}

export interface Broker {
  readonly signal: AbortSignal;
  /** Resolves when connected; rejects only when the broker is closed. */
  client(): Promise<{ publish: JetStreamClient; manage: JetStreamManager }>;
  /** Creates this service's stream unless it is there. */
  ensureStream(): Promise<void>;
  close(): Promise<void>;
}

/** Connects to the broker with this service's certificate, and again whenever it was lost. */
export function openBroker(options: {
  readonly service: string;
  readonly servers: readonly string[];
  readonly tls: TlsFiles;
  readonly logger: Logger;
}): Broker {
  const closing = new AbortController();
  let isConnected = false;
  const gauge = chassisMetrics.brokerConnected.observe(() => (isConnected ? 1 : 0));
  const connection = connectForEver(options, closing.signal, (state) => {
    isConnected = state;
  });
  // Whoever awaits it sees the rejection; with nobody waiting a close before the first connection is not an error.
  connection.catch(() => undefined);
  const client = connection.then(async (nats) => ({
    publish: jetstream(nats, { timeout: requestLimitMs }),
    manage: await jetstreamManager(nats, { checkAPI: false, timeout: requestLimitMs }),
  }));
  client.catch(() => undefined);

  return {
    signal: closing.signal,
    client: () => raceSignal(closing.signal, client),
    async ensureStream() {
      const { manage } = await client;
      const { name, subjects } = streamOf(options.service);
      try {
        await manage.streams.add({
          name,
          subjects: [subjects],
          retention: RetentionPolicy.Limits,
          storage: StorageType.File,
          discard: DiscardPolicy.Old,
          max_age: nanos(24 * hourMs),
          max_bytes: 64 * 1024 * 1024,
          max_msg_size: 64 * 1024,
          duplicate_window: nanos(120_000),
          num_replicas: 1,
        });
      } catch (error) {
        // Made by an operator or an earlier version with other limits: theirs hold.
        if (!(error instanceof JetStreamApiError && error.code === streamInUse)) throw error;
      }
    },
    async close() {
      gauge[Symbol.dispose]();
      closing.abort(new Error("event bus is closed"));
      const nats = await connection.catch(() => undefined);
      if (nats === undefined) return;
      await Promise.race([nats.drain().catch(() => undefined), delay(drainLimitMs, undefined, { ref: false })]);
      await nats.close();
    },
  };
}

async function connectForEver(
  options: { service: string; servers: readonly string[]; tls: TlsFiles; logger: Logger },
  signal: AbortSignal,
  connected: (state: boolean) => void,
): Promise<NatsConnection> {
  for (let retryMs = firstRetryMs; ; retryMs = Math.min(retryMs * 2, maxRetryMs)) {
    signal.throwIfAborted();
    try {
      const nats = await connect({
        servers: [...options.servers],
        name: options.service,
        // Own prefix per service, so that the broker's permissions can keep the others' answers from it.
        inboxPrefix: `_INBOX_${options.service}`,
        timeout: connectLimitMs,
        maxReconnectAttempts: -1,
        reconnectTimeWait: 250,
        reconnectJitter: 250,
        ignoreAuthErrorAbort: true,
        pingInterval: 10_000,
        // As paths they are read at each connection, so that one after a renewal is made with what they hold then.
        tls: {
          caFile: options.tls.platformCaPath,
          certFile: options.tls.certificatePath,
          keyFile: options.tls.keyPath,
        },
      });
      options.logger.info({ server: nats.getServer() }, "event broker connected");
      connected(true);
      void watchStatus(nats, options.logger, connected);
      void renewConnection(nats, options.tls, signal);
      return nats;
    } catch (error) {
      options.logger.debug({ err: error }, "event broker is away");
      await delay(retryMs, undefined, { signal });
    }
  }
}

/** The broker looks at a certificate at the handshake only, so a renewed one takes a new connection; what is queued waits for it. */
async function renewConnection(nats: NatsConnection, tls: TlsFiles, signal: AbortSignal): Promise<void> {
  const credential = followCredential({ ...tls, caPath: tls.platformCaPath });
  let shown = currentStamp(credential);
  while (!signal.aborted && !nats.isClosed()) {
    await delay(lookAtCertificateMs, undefined, { signal, ref: false }).catch(() => undefined);
    const stamp = currentStamp(credential);
    // Refused while it is closing, or reconnecting anyway: then with the new one.
    if (stamp !== shown) await nats.reconnect().catch(() => undefined);
    shown = stamp;
  }
}

async function watchStatus(nats: NatsConnection, logger: Logger, connected: (state: boolean) => void): Promise<void> {
  for await (const status of nats.status()) {
    if (status.type === "disconnect" || status.type === "reconnect") connected(status.type === "reconnect");
    if (status.type === "error") logger.warn({ err: status.error }, "event broker refused something");
    else if (status.type === "disconnect") logger.warn({ server: status.server }, "event broker lost");
    else if (status.type === "reconnect") logger.info({ server: status.server }, "event broker connected");
  }
}
