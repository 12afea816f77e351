import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import {
  type SecretMetadata,
  SecretMetadataSchema,
  type SecretTargetSchema,
} from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import type { Target } from "../sealed/targets.ts";
import type { SecretRecord } from "../store/secret-store.ts";

type Deliveries = MessageInitShape<typeof SecretMetadataSchema>["deliveries"];

/** What a caller may know about a secret. */
export function toSecretMetadata(secret: SecretRecord, deliveries: Deliveries = []): SecretMetadata {
  const { tenant, name, version, target, label } = secret;
  return create(SecretMetadataSchema, {
    tenant,
    name,
    version,
    createTime: timestampFromMs(secret.createTimeMs),
    updateTime: timestampFromMs(secret.updateTimeMs),
    ...(target === undefined ? {} : { target: toMessage(target) }),
    ...(label === undefined ? {} : { label }),
    deliveries,
  });
}

function toMessage(target: Target): MessageInitShape<typeof SecretTargetSchema> {
  switch (target.kind) {
    case "file":
      return { target: { case: "file", value: {} } };
    case "environment":
      return { target: { case: "environment", value: { variable: target.variable } } };
    case "configuration":
      return { target: { case: "configuration", value: { pointer: target.pointer } } };
  }
}
