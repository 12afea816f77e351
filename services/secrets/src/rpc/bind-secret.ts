import { create, toBinary } from "@bufbuild/protobuf";
import {
  type BindSecretRequest,
  BindSecretRequestSchema,
  type BindSecretResponse,
  BindSecretResponseSchema,
  type SecretTarget,
} from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import { fail } from "../errors.ts";
import type { SecretsContext } from "../service.ts";
import type { Target } from "../store/secret-store.ts";
import { toSecretMetadata } from "./secret-metadata.ts";

export function bindSecret({ requests, sealed, events }: SecretsContext) {
  return (request: BindSecretRequest): Promise<BindSecretResponse> =>
    requests.run(
      request.requestId,
      "BindSecret",
      toBinary(BindSecretRequestSchema, request),
      BindSecretResponseSchema,
      async () => {
        const bound = sealed.bind(request.tenant, request.name, toTarget(request.target));
        events.secretBound(bound);
        return create(BindSecretResponseSchema, { secret: toSecretMetadata(bound) });
      },
    );
}

function toTarget(target: SecretTarget | undefined): Target {
  const kind = target?.target.case;
  if (kind === "file") return kind;
  throw fail("NOT_IMPLEMENTED", "a secret can be bound to a file only", { metadata: { target: kind ?? "" } });
}
