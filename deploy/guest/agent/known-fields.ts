import { isMessage, type Message } from "@bufbuild/protobuf";
import type { Interceptor } from "@connectrpc/connect";
import { fail } from "./errors.ts";

function refuseUnknownFields(value: unknown): void {
  if (Array.isArray(value)) {
    for (const item of value) refuseUnknownFields(item);
  } else if (isMessage(value)) {
    const { $unknown, ...fields } = value as Message & Record<string, unknown>;
    if ($unknown !== undefined && $unknown.length > 0)
      throw fail("UNKNOWN_FIELD", "the request has a field this agent does not know");
    for (const field of Object.values(fields)) refuseUnknownFields(field);
  } else if (typeof value === "object" && value !== null && "case" in value && "value" in value) {
    refuseUnknownFields(value.value);
  }
}

async function* checked<T>(messages: AsyncIterable<T>): AsyncIterable<T> {
  for await (const message of messages) {
    refuseUnknownFields(message);
    yield message;
  }
}

/** Refuses requests with fields that this agent does not know: what a caller meant by them would silently not be done. */
export const onlyKnownFields: Interceptor = (next) => async (request) => {
  if (request.stream) return next({ ...request, message: checked(request.message) });
  refuseUnknownFields(request.message);
  return next(request);
};
