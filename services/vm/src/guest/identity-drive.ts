import { randomBytes } from "node:crypto";
import { isIPv4 } from "node:net";
import type { IssueGuestIdentityResponse } from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import { identityDriveBytes } from "../launcher/protocol.ts";
import type { TenantRecord } from "../store/tenant-record.ts";
import { mappingBytes, putDiskMapping } from "./disk-mapping.ts";

/** What opens the disk is behind it. */
const documentBytes = identityDriveBytes - mappingBytes;
/** The agent refuses an identity with more. */
const maxResolvers = 4;

export interface IdentityDriveParts {
  readonly tenant: TenantRecord;
  readonly identity: IssueGuestIdentityResponse;
  readonly trustDomain: string;
  /** What Host and SNI may be on the gateway's port. */
  readonly hostNames: readonly string[];
  /** IPv4 addresses of the only DNS servers that the guest reaches. */
  readonly resolvers: readonly string[];
  readonly hostTimeMs: number;
  readonly traceparent: string | undefined;
  /** SHA-256 of the token with which this service calls the guest's agent; that of `secrets` is in `identity`. */
  readonly tokenDigest: Uint8Array;
  /** What the disk opens with; undefined for a plain one. */
  readonly diskKey: Uint8Array | undefined;
}

/**
 * The bytes of the identity drive: one JSON document (fields in docs/architecture.md, "Identity drive") padded with zeros, and what
 * PID 1 opens the disk with; 64 KiB. It holds the guest's private key and its disk's, so the caller overwrites it after use.
 */
export function composeIdentityDrive(parts: IdentityDriveParts): Buffer {
  const { tenant, identity } = parts;
  const document = {
    version: 1,
    tenant: tenant.name,
    vmId: tenant.vmId,
    generation: tenant.generation,
    trustDomain: parts.trustDomain,
    hostNames: parts.hostNames,
    certificatePem: identity.certificatePem,
    privateKeyPem: Buffer.from(identity.privateKeyPem?.value ?? []).toString("utf8"),
    platformCaPem: identity.platformCaPem,
    tokenDigests: {
      vm: Buffer.from(parts.tokenDigest).toString("base64"),
      secrets: Buffer.from(identity.agentTokenDigest).toString("base64"),
    },
    resolvers: checked(parts.resolvers),
    hostTimeMs: parts.hostTimeMs,
    seedBase64: randomBytes(64).toString("base64"),
    expectInjection: true,
    ...(parts.traceparent === undefined ? {} : { traceparent: parts.traceparent }),
  };
  const drive = Buffer.alloc(identityDriveBytes);
  const text = JSON.stringify(document);
  if (Buffer.byteLength(text) > documentBytes)
    throw new RangeError("identity document does not fit the identity drive");
  drive.write(text, "utf8");
  if (parts.diskKey !== undefined) putDiskMapping(drive, parts.diskKey, tenant.resources.diskMib);
  return drive;
}

function checked(resolvers: readonly string[]): readonly string[] {
  if (resolvers.length <= maxResolvers && resolvers.every((address) => isIPv4(address))) return resolvers;
  throw new RangeError(`resolvers are at most ${maxResolvers} IPv4 addresses`);
}
