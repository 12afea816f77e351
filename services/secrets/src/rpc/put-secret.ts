import { create, toBinary } from "@bufbuild/protobuf";
import { Secret } from "@lobsterd/chassis/secret.ts";
import {
  type PutSecretRequest,
  PutSecretRequestSchema,
  type PutSecretResponse,
  PutSecretResponseSchema,
} from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import { refuseReserved } from "../sealed/limits.ts";
import type { SecretsContext } from "../service.ts";
import { toSecretMetadata } from "./secret-metadata.ts";

/**
 * The request log gets the request with a fingerprint under the tenant's key in place of the value: enough to tell a
 * repeat from another value under the same `request_id`, and nothing to guess the value from once the key is destroyed.
 */
export function putSecret({ requests, sealed, rotation, events }: SecretsContext) {
  return async ({ requestId, tenant, name, value }: PutSecretRequest): Promise<PutSecretResponse> => {
    using secret = Secret.take(value?.value ?? new Uint8Array());
    refuseReserved(name);
    const fingerprint = await sealed.fingerprint(tenant, secret);
    const logged = create(PutSecretRequestSchema, { requestId, tenant, name, value: { value: fingerprint } });
    return await requests.run(
      requestId,
      "PutSecret",
      toBinary(PutSecretRequestSchema, logged),
      PutSecretResponseSchema,
      async () => {
        const stored = await sealed.put(tenant, name, secret);
        events.secretStored(stored);
        if (stored.target !== undefined) rotation.check(tenant);
        return create(PutSecretResponseSchema, { secret: toSecretMetadata(stored) });
      },
    );
  };
}
