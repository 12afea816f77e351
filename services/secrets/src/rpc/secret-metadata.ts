import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import {
  type SecretMetadata,
  SecretMetadataSchema,
  SecretTargetSchema,
} from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import type { SecretRecord } from "../store/secret-store.ts";

/** What a caller may know about a secret. */
export function toSecretMetadata(secret: SecretRecord): SecretMetadata {
  return create(SecretMetadataSchema, {
    tenant: secret.tenant,
    name: secret.name,
    version: secret.version,
    createTime: timestampFromMs(secret.createTimeMs),
    updateTime: timestampFromMs(secret.updateTimeMs),
    ...(secret.target === undefined
      ? {}
      : { target: create(SecretTargetSchema, { target: { case: secret.target, value: {} } }) }),
  });
}
