import { create, type DescMessage, type DescService, type Message } from "@bufbuild/protobuf";
import { createValidator, violationsToProto } from "@bufbuild/protovalidate";
import type { FieldPath } from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";
import { Code, ConnectError, type Interceptor } from "@connectrpc/connect";
import { ErrorInfoSchema } from "@lobsterd/proto/google/rpc/error_details_pb.ts";
import { callerKey } from "./caller.ts";
import { chassisMetrics } from "./chassis-metrics.ts";
import { codeName, reasonOf, toConnectError } from "./errors.ts";
import type { Logger } from "./logger.ts";
import { hookMessages } from "./streams.ts";

type Request = Parameters<ReturnType<Interceptor>>[0];

/** Tells once of each call that it ended, a stream with its last message: how long it took, and what it failed with. */
function whenEnded(tell: (request: Request, durationMs: number, error: unknown) => void): Interceptor {
  return (next) => async (request) => {
    const startMs = performance.now();
    const done = (error: unknown) => tell(request, performance.now() - startMs, error);
    try {
      const response = await next(request);
      if (response.stream) return { ...response, message: hookMessages(response.message, { end: done }) };
      done(undefined);
      return response;
    } catch (error) {
      done(error);
      throw error;
    }
  };
}

/** One line per call when it ended: method, caller, code, reason, duration. The cause of an internal failure is in it. */
export function logCalls(logger: Logger): Interceptor {
  return whenEnded((request, durationMs, error) => logCall(logger, request, durationMs, error));
}

/** Counts each call when it ended, by method and code. */
export const measureCalls: Interceptor = whenEnded((request, durationMs, error) =>
  chassisMetrics.calls.record(durationMs / 1000, {
    "rpc.method": `${request.service.typeName}/${request.method.name}`,
    "rpc.response.status_code": error === undefined ? "OK" : codeName(ConnectError.from(error).code),
  }),
);

/** Turns every failure into its wire form with ErrorInfo; `domain` names this service in failures that have no own one. */
export function translateErrors(domain: string): Interceptor {
  return (next) => async (request) => {
    try {
      const response = await next(request);
      if (!response.stream) return response;
      return {
        ...response,
        message: hookMessages(response.message, { fail: (error) => toConnectError(error, domain) }),
      };
    } catch (error) {
      throw toConnectError(error, domain);
    }
  };
}

/**
 * Checks each request message against its protovalidate rules: INVALID_ARGUMENT, reason INVALID_FIELD, with the violations. The rules of
 * every method of `services` are compiled here, at the start, since the first compilation costs tens of milliseconds.
 */
export function validateRequests(services: readonly DescService[], domain: string): Interceptor {
  const validator = createValidator();
  for (const service of services) {
    for (const method of service.methods) validator.validate(method.input, create(method.input));
  }
  const check = (schema: DescMessage, message: Message): void => {
    const result = validator.validate(schema, message);
    if (result.kind === "valid") return;
    if (result.kind === "error") throw result.error;
    const [violations, descriptor] = violationsToProto(result.violations);
    const field = fieldName(violations.violations[0]?.field);
    throw new ConnectError(result.error.message, Code.InvalidArgument, undefined, [
      { desc: ErrorInfoSchema, value: { reason: "INVALID_FIELD", domain, metadata: { field } } },
      { desc: descriptor, value: violations },
    ]);
  };
  return (next) => async (request) => {
    if (!request.stream) {
      check(request.method.input, request.message);
      return await next(request);
    }
    const message = hookMessages(request.message, { message: (item) => check(request.method.input, item) });
    return await next({ ...request, message });
  };
}

/** `a.b[2].c`, as a caller writes it. */
function fieldName(path: FieldPath | undefined): string {
  let name = "";
  for (const element of path?.elements ?? []) {
    name += name === "" ? element.fieldName : `.${element.fieldName}`;
    if (element.subscript.case !== undefined) name += `[${String(element.subscript.value)}]`;
  }
  return name;
}

function logCall(logger: Logger, request: Request, durationMs: number, error: unknown): void {
  const caller = request.contextValues.get(callerKey)?.uri ?? "";
  const method = `${request.service.typeName}/${request.method.name}`;
  const fields = { method, caller, duration_ms: Math.round(durationMs * 10) / 10 };
  if (error === undefined) {
    const level = request.service.typeName.startsWith("grpc.") ? "debug" : "info";
    logger[level]({ ...fields, code: "OK" }, "call served");
    return;
  }
  const wire = ConnectError.from(error);
  const answer = { ...fields, code: codeName(wire.code), reason: reasonOf(wire) ?? "" };
  const isOurs = wire.code === Code.Internal || wire.code === Code.Unknown || wire.code === Code.DataLoss;
  if (isOurs) logger.error({ ...answer, err: wire.cause ?? wire }, "call failed");
  else logger.warn({ ...answer, detail: wire.rawMessage, ...failedPart(wire) }, "call failed");
}

/** What was not there, or ended, and of what: no caller is told, and whoever looks for it has nothing else. */
function failedPart({ code, cause }: ConnectError): { readonly err?: unknown } {
  const err = code === Code.Unavailable && cause instanceof Error ? cause.cause : undefined;
  return err === undefined ? {} : { err };
}
