/**
 * Events over JetStream. Invariants:
 *
 * 1. An event is a hint: a consumer re-reads the truth by RPC before it acts, so a lost or forged event does no harm.
 * 2. Publishing never blocks and never fails its caller. The queue is bounded; what does not fit is dropped and logged.
 * 3. An event is delivered at least once while the broker keeps it (24 h): its id is the message id, so that a repeated publish
 *    is stored once, and a consumer must bear a repeated delivery.
 * 4. The broker may be away at any time, at the start too; both sides reconnect for ever.
 */
import type { CommonConfig } from "./config.ts";
import { openBroker } from "./event-broker.ts";
import { openPublisher } from "./event-publisher.ts";
import { openSubscription } from "./event-subscription.ts";
import type { Logger } from "./logger.ts";

export interface OutgoingEvent {
  /** Tenant name, or `""` for an event of the host. */
  readonly tenant: string;
  /** Past tense, lower-case: `spawned`, `image-installed`. */
  readonly name: string;
  /** JSON values, 48 KiB at most; never a secret. */
  readonly data: Readonly<Record<string, unknown>>;
}

export interface ReceivedEvent {
  readonly id: string;
  readonly time: Date;
  readonly service: string;
  readonly tenant: string;
  readonly name: string;
  readonly data: Readonly<Record<string, unknown>>;
}

export interface Subscription {
  /** Stops after the event that is being handled. The broker keeps its place for the next start. */
  close(): Promise<void>;
}

export interface EventBus {
  publish(event: OutgoingEvent): void;
  /**
   * Handles the events of one service that match `filter` (`vm.v1.>`, `vm.v1.*.spawned`), one at a time, from the moment the filter is first
   * used on. A handler that rejects gets the event again, five times in all. Resolves at once; the broker may be away.
   */
  subscribe(filter: string, handler: (event: ReceivedEvent) => Promise<void>): Promise<Subscription>;
  /** Waits for queued events for at most a second, then disconnects. */
  close(): Promise<void>;
}

/** The event bus of a service. Returns at once and connects in the background; without `config.events` it drops everything. */
export function connectEvents(options: {
  readonly config: Pick<CommonConfig, "service" | "tls" | "events">;
  readonly logger: Logger;
}): EventBus {
  const { config, logger } = options;
  if (config.events === undefined) return silentBus;
  const broker = openBroker({ service: config.service, servers: config.events.servers, tls: config.tls, logger });
  const publisher = openPublisher(config.service, broker, logger);
  const subscriptions = new Set<Subscription>();
  return {
    publish: (event) => publisher.publish(event),
    async subscribe(filter, handler) {
      const subscription = openSubscription({ service: config.service, filter, handler, broker, logger });
      subscriptions.add(subscription);
      return subscription;
    },
    async close() {
      await publisher.close();
      await Promise.all([...subscriptions].map((subscription) => subscription.close()));
      await broker.close();
    },
  };
}

const silentBus: EventBus = {
  publish: () => undefined,
  subscribe: async () => ({ close: async () => undefined }),
  close: async () => undefined,
};
