import { create, toBinary } from "@bufbuild/protobuf";
import {
  type DeleteSecretRequest,
  DeleteSecretRequestSchema,
  type DeleteSecretResponse,
  DeleteSecretResponseSchema,
} from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import type { SecretsContext } from "../service.ts";

export function deleteSecret({ requests, sealed, rotation, events }: SecretsContext) {
  return (request: DeleteSecretRequest): Promise<DeleteSecretResponse> =>
    requests.run(
      request.requestId,
      "DeleteSecret",
      toBinary(DeleteSecretRequestSchema, request),
      DeleteSecretResponseSchema,
      async () => {
        const { tenant, name } = request;
        sealed.delete(tenant, name);
        events.secretDeleted(tenant, name);
        rotation.check(tenant);
        return create(DeleteSecretResponseSchema);
      },
    );
}
