import { create, toBinary } from "@bufbuild/protobuf";
import {
  type BindSecretRequest,
  BindSecretRequestSchema,
  type BindSecretResponse,
  BindSecretResponseSchema,
  type SecretTarget,
} from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import { fail } from "../errors.ts";
import type { Target } from "../sealed/targets.ts";
import type { SecretsContext } from "../service.ts";
import { toSecretMetadata } from "./secret-metadata.ts";

export function bindSecret({ requests, sealed, rotation, events }: SecretsContext) {
  return (request: BindSecretRequest): Promise<BindSecretResponse> =>
    requests.run(
      request.requestId,
      "BindSecret",
      toBinary(BindSecretRequestSchema, request),
      BindSecretResponseSchema,
      async () => {
        const { tenant, name, label } = request;
        const binding = {
          target: toTarget(request.target),
          label: label === undefined ? undefined : { key: label.key, value: label.value },
        };
        const bound = await sealed.bind(tenant, name, binding);
        events.secretBound(bound);
        rotation.check(tenant);
        return create(BindSecretResponseSchema, { secret: toSecretMetadata(bound) });
      },
    );
}

function toTarget(message: SecretTarget | undefined): Target {
  const target = message?.target;
  switch (target?.case) {
    case "file":
      return { kind: "file" };
    case "environment":
      return { kind: "environment", variable: target.value.variable };
    case "configuration":
      return { kind: "configuration", pointer: target.value.pointer };
    default:
      throw fail("TARGET_RESERVED", "the target is of no known kind", { metadata: { field: "target" } });
  }
}
