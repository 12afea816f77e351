import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import {
  type ClientCertificate,
  ClientCertificateSchema,
  ClientRole,
} from "@lobsterd/proto/lobsterd/secrets/v1/client_pb.ts";
import type { ClientCertificates } from "../clients/client-certificates.ts";
import type { ClientRecord } from "../clients/client-store.ts";
import { fail } from "../errors.ts";

/** Throws CLIENT_AUTHORITY_MISSING on a host whose configuration has none. */
export function requireAuthority(clients: ClientCertificates | undefined): ClientCertificates {
  if (clients === undefined)
    throw fail("CLIENT_AUTHORITY_MISSING", "this host has no authority for clients: configure it");
  return clients;
}

export function toClientCertificate(client: ClientRecord): ClientCertificate {
  const { name, role, serialNumber, issueTimeMs, expireTimeMs } = client;
  return create(ClientCertificateSchema, {
    ...{ name, serialNumber, role: role === "owner" ? ClientRole.OWNER : ClientRole.VIEWER },
    ...{ issueTime: timestampFromMs(issueTimeMs), expireTime: timestampFromMs(expireTimeMs) },
  });
}
