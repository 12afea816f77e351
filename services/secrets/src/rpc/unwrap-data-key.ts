import { create } from "@bufbuild/protobuf";
import {
  type UnwrapDataKeyRequest,
  type UnwrapDataKeyResponse,
  UnwrapDataKeyResponseSchema,
} from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import type { SecretsContext } from "../service.ts";
import { objectOf } from "./data-key-object.ts";

export function unwrapDataKey({ objectKeys }: SecretsContext) {
  return async (request: UnwrapDataKeyRequest): Promise<UnwrapDataKeyResponse> => {
    using key = await objectKeys.open(request.tenant, objectOf(request), request.wrappedKey);
    return create(UnwrapDataKeyResponseSchema, {
      plaintextKey: { value: key.use((bytes) => Uint8Array.from(bytes)) },
    });
  };
}
