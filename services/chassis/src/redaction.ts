import { ConnectError } from "@connectrpc/connect";
import { reasonOf } from "./errors.ts";
import { Secret } from "./secret.ts";

const maxDepth = 6;
const maxItems = 100;
const maxText = 4096;
const secretMessage = "lobsterd.common.v1.SecretBytes";
const secretKey =
  /^(authorization|cookie|set-cookie|pass(word|phrase)|secret|token|api[-_]?key|private[-_]?key(pem)?|key[-_]?pem)$/i;

/**
 * A copy of `value` that is safe to print: secret messages, `Secret`s, raw bytes and fields with the name of a credential
 * are replaced, and depth, item count and text length are bounded, since what is logged may come from a guest.
 */
export function redact(value: unknown, depth = 0): unknown {
  if (typeof value === "string") return value.length > maxText ? `${value.slice(0, maxText)}…` : value;
  if (typeof value === "bigint") return value.toString();
  if (typeof value !== "object" || value === null) return value;
  if (value instanceof Secret) return "[redacted]";
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return `[${value.byteLength} bytes]`;
  if (value instanceof Date) return value.toJSON();
  if (depth >= maxDepth) return "[deep]";
  if (value instanceof Error) return describeError(value, depth);
  if (Array.isArray(value)) return value.slice(0, maxItems).map((item) => redact(item, depth + 1));
  if (value instanceof Map || value instanceof Set) return redact([...value].slice(0, maxItems), depth);
  if ("$typeName" in value && value.$typeName === secretMessage) return "[redacted]";
  const copy: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value).slice(0, maxItems)) {
    copy[key] = secretKey.test(key) && item !== undefined ? "[redacted]" : redact(item, depth + 1);
  }
  return copy;
}

function describeError(error: Error, depth: number): Record<string, unknown> {
  const code = "code" in error ? error.code : undefined;
  const reason = reasonOf(error);
  return {
    type: error.name,
    message: redact(error.message),
    ...(code === undefined ? {} : { code }),
    ...(reason === undefined ? {} : { reason }),
    stack: redact(error.stack),
    // The details of a ConnectError hold request data; its cause is what a reader of the log needs.
    ...(error.cause === undefined ? {} : { cause: redact(error.cause, depth + 1) }),
    ...(error instanceof AggregateError ? { errors: redact(error.errors, depth + 1) } : {}),
    ...(error instanceof ConnectError && error.isWireError ? { remote: true } : {}),
  };
}
