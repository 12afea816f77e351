import { create } from "@bufbuild/protobuf";
import {
  type CreateDataKeyRequest,
  CreateDataKeyRequestSchema,
  type CreateDataKeyResponse,
  CreateDataKeyResponseSchema,
} from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import type { SecretsContext } from "../service.ts";
import { objectOf } from "./data-key-object.ts";
import { claimRequestId } from "./request-claim.ts";

/** Repeated it makes another key, which is why the proto does not call it idempotent: the answer holds a key and is never stored. */
export function createDataKey({ requests, objectKeys }: SecretsContext) {
  return async (request: CreateDataKeyRequest): Promise<CreateDataKeyResponse> => {
    await claimRequestId(requests, request.requestId, CreateDataKeyRequestSchema, request);
    const { plaintext, wrapped, tenantKeyId } = await objectKeys.create(request.tenant, objectOf(request));
    using key = plaintext;
    return create(CreateDataKeyResponseSchema, {
      plaintextKey: { value: key.use((bytes) => Uint8Array.from(bytes)) },
      wrappedKey: wrapped,
      keyId: tenantKeyId,
    });
  };
}
