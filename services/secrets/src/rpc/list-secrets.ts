import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { decodePageToken, encodePageToken, pageSizeOf } from "@lobsterd/chassis/pages.ts";
import {
  type ListSecretsRequest,
  type ListSecretsResponse,
  ListSecretsResponseSchema,
} from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import type { SecretsContext } from "../service.ts";
import type { SecretRecord } from "../store/secret-store.ts";
import { toSecretMetadata } from "./secret-metadata.ts";

const maxDeliveries = 64;

export function listSecrets({ sealed, deliveryStore }: SecretsContext) {
  const deliveriesOf = ({ tenant, name, version }: SecretRecord) =>
    deliveryStore.listOf(tenant, name, version, maxDeliveries).map(({ deliverTimeMs, ...guest }) => ({
      ...guest,
      deliverTime: timestampFromMs(deliverTimeMs),
    }));
  return (request: ListSecretsRequest): ListSecretsResponse => {
    const size = pageSizeOf(request);
    const found = sealed.list(request.tenant, decodePageToken(request.page?.pageToken ?? ""), size + 1);
    const shown = found.slice(0, size);
    const last = shown.at(-1);
    const nextPageToken = found.length > size && last !== undefined ? encodePageToken(last.name) : "";
    return create(ListSecretsResponseSchema, {
      secrets: shown.map((secret) => toSecretMetadata(secret, deliveriesOf(secret))),
      page: { nextPageToken },
    });
  };
}
