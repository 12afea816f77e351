import type { Interceptor, StreamResponse, UnaryResponse } from "@connectrpc/connect";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  type Attributes,
  type Context,
  context,
  propagation,
  type Span,
  SpanKind,
  type TextMapGetter,
  trace,
} from "@opentelemetry/api";
import { recordFailure, tracer } from "./tracing.ts";

type Request = Parameters<ReturnType<Interceptor>>[0];

const headerGetter: TextMapGetter<Headers> = {
  get: (headers, key) => headers.get(key) ?? undefined,
  keys: (headers) => [...headers.keys()],
};

/** Server spans, children of the caller's span when the request names one. */
export const serverTracing: Interceptor = (next) => (request) => {
  const parent = propagation.extract(context.active(), request.header, headerGetter);
  return traceCall(request, SpanKind.SERVER, parent, () => next(request));
};

/** Client spans, with the trace context put into the request's headers. */
export const clientTracing: Interceptor = (next) => (request) =>
  traceCall(request, SpanKind.CLIENT, context.active(), () => {
    propagation.inject(context.active(), request.header, { set: (headers, key, value) => headers.set(key, value) });
    return next(request);
  });

async function traceCall(
  request: Request,
  kind: SpanKind,
  parent: Context,
  call: () => Promise<UnaryResponse | StreamResponse>,
): Promise<UnaryResponse | StreamResponse> {
  const name = `${request.service.typeName}/${request.method.name}`;
  const span = tracer.startSpan(name, { kind, attributes: rpcAttributes(request) }, parent);
  const active = trace.setSpan(parent, span);
  try {
    const response = await context.with(active, call);
    if (response.stream) return { ...response, message: tracedMessages(response.message, span, active) };
    finish(span, undefined);
    return response;
  } catch (error) {
    finish(span, error);
    throw error;
  }
}

/**
 * A stream's handler runs while its messages are pulled, which is after the interceptor returned: each step is run in the
 * span's context, or spans and logs made by the handler would have no trace (connectrpc/connect-es issue 1428).
 */
function tracedMessages<T>(messages: AsyncIterable<T>, span: Span, active: Context): AsyncIterable<T> {
  return {
    [Symbol.asyncIterator]() {
      const iterator = context.with(active, () => messages[Symbol.asyncIterator]());
      const step = async (run: () => Promise<IteratorResult<T>> | undefined): Promise<IteratorResult<T>> => {
        try {
          const result = (await context.with(active, run)) ?? { done: true, value: undefined };
          if (result.done === true) finish(span, undefined);
          return result;
        } catch (error) {
          finish(span, error);
          throw error;
        }
      };
      return {
        next: () => step(() => iterator.next()),
        return: (value?: unknown) => step(() => iterator.return?.(value)),
        throw: (error?: unknown) => step(() => iterator.throw?.(error) ?? Promise.reject(error)),
      };
    },
  };
}

function rpcAttributes(request: Request): Attributes {
  return { "rpc.system": "grpc", "rpc.service": request.service.typeName, "rpc.method": request.method.name };
}

function finish(span: Span, error: unknown): void {
  if (!span.isRecording()) return;
  if (error === undefined) {
    span.setAttribute("rpc.grpc.status_code", 0);
  } else {
    span.setAttribute("rpc.grpc.status_code", ConnectError.from(error, Code.Unknown).code);
    recordFailure(span, error);
  }
  span.end();
}
