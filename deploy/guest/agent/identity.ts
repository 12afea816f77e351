import { isIPv4 } from "node:net";
import type { CallingService } from "./access.ts";

/** Who this guest is, as PID 1 found it on the identity drive. */
export type Identity = {
  readonly tenant: string;
  readonly vmId: string;
  readonly generation: number;
  readonly trustDomain: string;
  /** What SNI and Host may be on the gateway's port, in lower case. */
  readonly hostNames: ReadonlySet<string>;
  readonly certificatePem: string;
  readonly privateKeyPem: string;
  readonly platformCaPem: string;
  /** SHA-256 of the token with which each service calls this guest's agent. */
  readonly tokenDigests: Readonly<Record<CallingService, Uint8Array>>;
  /** The host's clock when it made the drive, in milliseconds since 1970. */
  readonly hostTimeMs: number;
  readonly seed: Buffer;
  /** IPv4 addresses of the only DNS servers that this guest reaches. */
  readonly resolvers: readonly string[];
  /** The workload starts after InjectSecrets if true, at once if false. */
  readonly expectInjection: boolean;
  /** Parent of the spans of this boot. */
  readonly traceparent: string | undefined;
};

/** The document is absent, of another version, or not what the host promises; the message names the field and never its value. */
export class IdentityError extends Error {
  override readonly name = "IdentityError";
}

const maximumBytes = 64 * 1024;
const maximumResolvers = 4;
const hostName = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;

type Fields = Readonly<Record<string, unknown>>;

function text(fields: Fields, name: string, pattern: RegExp): string {
  const value = fields[name];
  if (typeof value !== "string" || !pattern.test(value))
    throw new IdentityError(`identity field ${name} is missing or malformed`);
  return value;
}

function names(fields: Fields): ReadonlySet<string> {
  const value = fields.hostNames;
  if (!Array.isArray(value) || value.length === 0 || value.length > 16)
    throw new IdentityError("identity field hostNames is malformed");
  for (const name of value) {
    if (typeof name !== "string" || !hostName.test(name))
      throw new IdentityError("identity field hostNames is malformed");
  }
  return new Set(value as string[]);
}

function addresses(fields: Fields): readonly string[] {
  const value = fields.resolvers;
  if (!Array.isArray(value) || value.length > maximumResolvers || !value.every((one) => isIPv4(one)))
    throw new IdentityError("identity field resolvers is missing or malformed");
  return value as string[];
}

function digests(fields: Fields): Identity["tokenDigests"] {
  const value = fields.tokenDigests;
  if (typeof value !== "object" || value === null) throw new IdentityError("identity field tokenDigests is missing");
  const digest = (service: CallingService) =>
    Buffer.from(text(value as Fields, service, /^[A-Za-z0-9+/]{43}=$/), "base64");
  return { vm: digest("vm"), secrets: digest("secrets") };
}

function milliseconds(fields: Fields, name: string): number {
  const value = fields[name];
  if (!Number.isSafeInteger(value) || (value as number) < 0)
    throw new IdentityError(`identity field ${name} is missing or malformed`);
  return value as number;
}

/** Parses the identity document. Everything is required except `traceparent`: the agent does not run half identified. */
export function parseIdentity(document: string): Identity {
  if (document.length > maximumBytes) throw new IdentityError("identity document is too large");
  let fields: Fields;
  try {
    fields = JSON.parse(document) as Fields;
  } catch {
    // The parser's message quotes its input, which holds the private key.
    throw new IdentityError("identity document is not JSON");
  }
  if (typeof fields !== "object" || fields === null || fields.version !== 1)
    throw new IdentityError("identity version is not 1");
  const { generation, expectInjection, traceparent } = fields;
  if (!Number.isSafeInteger(generation) || (generation as number) < 1)
    throw new IdentityError("identity field generation is malformed");
  if (typeof expectInjection !== "boolean") throw new IdentityError("identity field expectInjection is malformed");
  const seed = Buffer.from(text(fields, "seedBase64", /^[A-Za-z0-9+/]{86}==$/), "base64");
  return {
    tenant: text(fields, "tenant", /^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$/),
    vmId: text(fields, "vmId", /^[0-9a-f]{32}$/),
    generation: generation as number,
    trustDomain: text(fields, "trustDomain", hostName),
    hostNames: names(fields),
    certificatePem: text(fields, "certificatePem", /^-----BEGIN CERTIFICATE-----\n/),
    privateKeyPem: text(fields, "privateKeyPem", /^-----BEGIN (EC )?PRIVATE KEY-----\n/),
    platformCaPem: text(fields, "platformCaPem", /^-----BEGIN CERTIFICATE-----\n/),
    tokenDigests: digests(fields),
    hostTimeMs: milliseconds(fields, "hostTimeMs"),
    seed,
    resolvers: addresses(fields),
    expectInjection,
    traceparent:
      traceparent === undefined || traceparent === "" ? undefined : text(fields, "traceparent", /^[0-9a-f-]{55}$/),
  };
}
