import { create, toBinary } from "@bufbuild/protobuf";
import {
  type RotateRootKeyRequest,
  RotateRootKeyRequestSchema,
  type RotateRootKeyResponse,
  RotateRootKeyResponseSchema,
} from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import type { SecretsContext } from "../service.ts";

/** Goes on when its caller has gone: a rotation is over when the last key is wrapped anew. */
export function rotateRootKey({ requests, rootRotation, events }: SecretsContext) {
  return (request: RotateRootKeyRequest): Promise<RotateRootKeyResponse> =>
    requests.run(
      request.requestId,
      "RotateRootKey",
      toBinary(RotateRootKeyRequestSchema, request),
      RotateRootKeyResponseSchema,
      async () => {
        const rotated = await rootRotation.rotate();
        events.rootKeyRotated(rotated);
        return create(RotateRootKeyResponseSchema, rotated);
      },
    );
}
