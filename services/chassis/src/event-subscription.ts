import { createHash } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { AckPolicy, type ConsumerMessages, DeliverPolicy, type JsMsg } from "@nats-io/jetstream";
import { type MsgHdrs, nanos } from "@nats-io/transport-node";
import { context, propagation, SpanKind, type TextMapGetter } from "@opentelemetry/api";
import { z } from "zod";
import { type Broker, streamOf } from "./event-broker.ts";
import type { ReceivedEvent, Subscription } from "./events.ts";
import type { Logger } from "./logger.ts";
import { raceSignal } from "./streams.ts";
import { runInSpan } from "./tracing.ts";

const maxDeliveries = 5;
const redeliverMs = 1000;
const handlerLimitMs = 30_000;
const retryMs = 500;

const eventSchema = z.object({
  id: z.uuid(),
  time: z.iso.datetime().transform((text) => new Date(text)),
  service: z.string().max(64),
  tenant: z.string().max(64),
  name: z.string().max(64),
  data: z.record(z.string(), z.unknown()),
});

const headerGetter: TextMapGetter<MsgHdrs | undefined> = {
  // NATS reports an absent header as "", which the propagator would take for a value.
  get: (headers, key) => headers?.get(key) || undefined,
  keys: (headers) => headers?.keys() ?? [],
};

interface SubscriptionOptions {
  readonly service: string;
  readonly filter: string;
  readonly handler: (event: ReceivedEvent) => Promise<void>;
  readonly broker: Broker;
  readonly logger: Logger;
}

/** Consumes with a durable consumer named by service and filter, and starts over whenever the broker or the stream was away. */
export function openSubscription(options: SubscriptionOptions): Subscription {
  const closing = new AbortController();
  const signal = AbortSignal.any([closing.signal, options.broker.signal]);
  let current: ConsumerMessages | undefined;

  const loop = async (): Promise<void> => {
    while (!signal.aborted) {
      try {
        current = await raceSignal(signal, consume(options));
        for await (const message of current) {
          await handle(message, options);
          if (signal.aborted) break;
        }
      } catch (error) {
        if (signal.aborted) return;
        options.logger.debug({ err: error, filter: options.filter }, "event subscription starts over");
      }
      await delay(retryMs, undefined, { signal }).catch(() => undefined);
    }
  };
  const done = loop();
  return {
    async close() {
      closing.abort(new Error("subscription is closed"));
      current?.stop();
      await done;
    },
  };
}

async function consume(options: SubscriptionOptions): Promise<ConsumerMessages> {
  const publisher = options.filter.split(".", 1)[0] ?? "";
  const stream = streamOf(publisher).name;
  const durable = `${options.service}-${createHash("sha256").update(options.filter).digest("hex").slice(0, 12)}`;
  const { publish, manage } = await options.broker.client();
  await manage.consumers.add(stream, {
    durable_name: durable,
    filter_subject: options.filter,
    ack_policy: AckPolicy.Explicit,
    deliver_policy: DeliverPolicy.New,
    ack_wait: nanos(handlerLimitMs),
    max_deliver: maxDeliveries,
    max_ack_pending: 64,
  });
  const consumer = await publish.consumers.get(stream, durable);
  return await consumer.consume({ max_messages: 16 });
}

async function handle(message: JsMsg, { handler, logger }: SubscriptionOptions): Promise<void> {
  const event = decode(message);
  if (event === undefined) {
    logger.warn({ subject: message.subject.slice(0, 256) }, "event is malformed, dropping it");
    // Without a reason: broker 2.9 ignores `term` with one and delivers the message again.
    message.term();
    return;
  }
  const parent = propagation.extract(context.active(), message.headers, headerGetter);
  const attributes = { "messaging.system": "nats", "messaging.operation.type": "process" };
  await context.with(parent, async () => {
    try {
      const limit = AbortSignal.timeout(handlerLimitMs);
      await runInSpan(`process ${event.service}.${event.name}`, SpanKind.CONSUMER, attributes, () =>
        raceSignal(limit, handler(event)),
      );
      message.ack();
    } catch (error) {
      logger.warn({ err: error, event: event.name, delivery: message.info.deliveryCount }, "event handler failed");
      message.nak(redeliverMs);
    }
  });
}

/** The event, if its body is one and its subject says the same: permissions are granted by subject, so the subject is what counts. */
function decode(message: JsMsg): ReceivedEvent | undefined {
  let body: unknown;
  try {
    body = message.json();
  } catch {
    return undefined;
  }
  const { data: event } = eventSchema.safeParse(body);
  if (event === undefined) return undefined;
  const subject = `${event.service}.v1.${event.tenant === "" ? "_" : event.tenant}.${event.name}`;
  return subject === message.subject ? event : undefined;
}
