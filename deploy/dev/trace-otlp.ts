import { z } from "zod";
import type { TraceSpan } from "../client/trace.ts";
import { OtlpError, parseOtlp } from "./otlp.ts";

const maxSpansPerRequest = 10_000;
const maxAttributes = 64;
const maxText = 1024;
const statusError = 2;

// OTLP's JSON form: 64-bit numbers are strings, ids are hexadecimal, unknown fields are to be ignored.
const nanosecondsSchema = z.union([z.string().regex(/^\d{1,20}$/), z.number().int().nonnegative()]);
const attributesSchema = z
  .array(z.object({ key: z.string(), value: z.record(z.string(), z.unknown()).optional() }))
  .default([]);
const spanSchema = z.object({
  traceId: z.string().regex(/^[0-9a-fA-F]{32}$/),
  spanId: z.string().regex(/^[0-9a-fA-F]{16}$/),
  parentSpanId: z
    .string()
    .regex(/^([0-9a-fA-F]{16})?$/)
    .default(""),
  name: z.string(),
  startTimeUnixNano: nanosecondsSchema,
  endTimeUnixNano: nanosecondsSchema,
  attributes: attributesSchema,
  status: z.object({ code: z.number().optional() }).optional(),
});
const requestSchema = z.object({
  resourceSpans: z
    .array(
      z.object({
        resource: z.object({ attributes: attributesSchema }).optional(),
        scopeSpans: z.array(z.object({ spans: z.array(spanSchema).default([]) })).default([]),
      }),
    )
    .default([]),
});

/** The spans in the JSON body of `POST /v1/traces`, at most 10,000. Throws `OtlpError`. */
export function parseOtlpSpans(body: string): readonly TraceSpan[] {
  const { resourceSpans } = parseOtlp(requestSchema, body);
  const spans = resourceSpans.flatMap(({ resource, scopeSpans }) => {
    const name = attributesOf(resource?.attributes ?? [])["service.name"];
    const service = typeof name === "string" ? name : "unknown";
    return scopeSpans.flatMap((scope) => scope.spans.map((span) => traceSpanOf(span, service)));
  });
  if (spans.length > maxSpansPerRequest) throw new OtlpError(`more than ${maxSpansPerRequest} spans in one request`);
  return spans;
}

function traceSpanOf(span: z.infer<typeof spanSchema>, service: string): TraceSpan {
  const startNanos = BigInt(span.startTimeUnixNano);
  const durationNanos = BigInt(span.endTimeUnixNano) - startNanos;
  return {
    traceId: span.traceId.toLowerCase(),
    spanId: span.spanId.toLowerCase(),
    parentSpanId: span.parentSpanId.toLowerCase(),
    name: cut(span.name),
    service,
    // A double holds milliseconds since 1970 to a quarter of a microsecond; the duration is subtracted before it is rounded.
    startMs: Number(startNanos / 1000n) / 1000,
    durationMs: Math.max(0, Number(durationNanos) / 1_000_000),
    failed: span.status?.code === statusError,
    attributes: attributesOf(span.attributes),
  };
}

function attributesOf(list: z.infer<typeof attributesSchema>): Record<string, string | number | boolean> {
  const attributes: Record<string, string | number | boolean> = {};
  for (const { key, value } of list.slice(0, maxAttributes)) {
    const scalar = value?.stringValue ?? value?.boolValue ?? value?.doubleValue ?? value?.intValue;
    if (typeof scalar === "string") attributes[cut(key)] = value?.intValue === scalar ? Number(scalar) : cut(scalar);
    else if (typeof scalar === "number" || typeof scalar === "boolean") attributes[cut(key)] = scalar;
  }
  return attributes;
}

function cut(text: string): string {
  return text.length <= maxText ? text : text.slice(0, maxText);
}
