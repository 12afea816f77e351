import { trace } from "@opentelemetry/api";
import pino from "pino";
import { redact } from "./redaction.ts";

export type Logger = pino.Logger;

/**
 * JSON lines on standard output (or `destination`), each with `service`, `time` (RFC 3339) and, inside a span, `trace_id`
 * and `span_id`. Messages are constant and lower-case; facts are fields. Secret values and raw bytes are never printed.
 */
export function createLogger(
  options: { service: string; level?: string },
  destination?: pino.DestinationStream,
): Logger {
  const configuration: pino.LoggerOptions = {
    level: options.level ?? "info",
    base: { service: options.service },
    timestamp: pino.stdTimeFunctions.isoTime,
    messageKey: "message",
    formatters: {
      level: (label) => ({ level: label }),
      log: (fields) => redact(fields) as Record<string, unknown>,
    },
    // The standard serializer would take the description made by `redact` for an error of its own.
    serializers: { err: (described: unknown) => described },
    mixin() {
      const span = trace.getActiveSpan()?.spanContext();
      return span === undefined ? {} : { trace_id: span.traceId, span_id: span.spanId };
    },
  };
  return destination === undefined ? pino(configuration) : pino(configuration, destination);
}
