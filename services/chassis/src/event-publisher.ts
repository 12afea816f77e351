import { setTimeout as delay } from "node:timers/promises";
import { headers, type MsgHdrs } from "@nats-io/transport-node";
import { context, propagation, type Span, SpanKind, trace } from "@opentelemetry/api";
import { uuidv7 } from "uuidv7";
import { chassisMetrics } from "./chassis-metrics.ts";
import type { Broker } from "./event-broker.ts";
import type { OutgoingEvent } from "./events.ts";
import type { Logger } from "./logger.ts";
import { recordFailure, tracer } from "./tracing.ts";

const maxQueued = 1000;
const maxDataBytes = 48 * 1024;
/** Shorter than the broker's duplicate window by far, so a repeated publish is still recognised. */
const publishLimitMs = 1000;
const retryMs = 250;
const closeLimitMs = 1000;

interface Queued {
  readonly id: string;
  readonly subject: string;
  readonly payload: string;
  readonly headers: MsgHdrs;
  readonly span: Span;
}

export interface Publisher {
  publish(event: OutgoingEvent): void;
  close(): Promise<void>;
}

/** Publishes in order from a bounded queue. */
export function openPublisher(service: string, broker: Broker, logger: Logger): Publisher {
  const queue: Queued[] = [];
  const gauge = chassisMetrics.eventsQueued.observe(() => queue.length);
  let dropped = 0;
  let sending: Promise<void> | undefined;
  let hasStream = false;

  async function send(item: Queued): Promise<void> {
    const { publish } = await broker.client();
    if (!hasStream) await broker.ensureStream();
    hasStream = true;
    try {
      await publish.publish(item.subject, item.payload, {
        msgID: item.id,
        headers: item.headers,
        timeout: publishLimitMs,
        retries: 1,
      });
    } catch (error) {
      // A broker whose storage was lost answers "no responders": its stream has to be made again.
      hasStream = false;
      throw error;
    }
  }

  async function drain(): Promise<void> {
    for (let item = queue[0]; item !== undefined && !broker.signal.aborted; item = queue[0]) {
      try {
        await send(item);
        item.span.end();
        queue.shift();
      } catch (error) {
        if (broker.signal.aborted) return;
        logger.debug({ err: error, queued: queue.length }, "event was not taken, trying again");
        await delay(retryMs, undefined, { signal: broker.signal }).catch(() => undefined);
      }
    }
  }

  function start(): void {
    sending ??= drain().finally(() => {
      sending = undefined;
      if (queue.length > 0 && !broker.signal.aborted) start();
    });
  }

  return {
    publish(event) {
      if (queue.length >= maxQueued) {
        dropped += 1;
        chassisMetrics.eventsDropped.add(1);
        // One line per power of two: a broker that stays away must not fill the log.
        if ((dropped & (dropped - 1)) === 0) logger.warn({ dropped, event: event.name }, "event queue is full");
        return;
      }
      const item = encode(service, event);
      if (typeof item === "string") logger.error({ event: event.name, fault: item }, "event cannot be published");
      else {
        queue.push(item);
        start();
      }
    },
    async close() {
      gauge[Symbol.dispose]();
      if (sending !== undefined) await Promise.race([sending, delay(closeLimitMs, undefined, { ref: false })]);
      if (queue.length > 0) logger.warn({ lost: queue.length }, "events were not delivered before the stop");
      for (const { span } of queue) {
        recordFailure(span, new Error("not delivered"));
        span.end();
      }
    },
  };
}

/** The message of an event, or what is wrong with it. */
function encode(service: string, event: OutgoingEvent): Queued | string {
  if (!/^[a-z][a-z0-9-]{0,63}$/.test(event.name)) return "name is not lower-case words";
  if (event.tenant !== "" && !/^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$/.test(event.tenant)) return "tenant is not a name";
  const id = uuidv7();
  const body = {
    id,
    time: new Date().toISOString(),
    service,
    tenant: event.tenant,
    name: event.name,
    data: event.data,
  };
  const payload = JSON.stringify(body);
  if (Buffer.byteLength(payload) > maxDataBytes) return `more than ${maxDataBytes} bytes`;
  // An event without a tenant still needs a token in its subject.
  const subject = `${service}.v1.${event.tenant === "" ? "_" : event.tenant}.${event.name}`;
  const span = tracer.startSpan(`send ${service}.${event.name}`, {
    kind: SpanKind.PRODUCER,
    attributes: { "messaging.system": "nats", "messaging.operation.type": "send" },
  });
  const carried = headers();
  propagation.inject(trace.setSpan(context.active(), span), carried, { set: (to, key, value) => to.set(key, value) });
  return { id, subject, payload, headers: carried, span };
}
