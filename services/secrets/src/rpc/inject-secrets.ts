import { create, toBinary } from "@bufbuild/protobuf";
import type { HandlerContext } from "@connectrpc/connect";
import {
  type InjectSecretsRequest,
  InjectSecretsRequestSchema,
  type InjectSecretsResponse,
  InjectSecretsResponseSchema,
} from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import type { SecretsContext } from "../service.ts";

export function injectSecrets({ config, requests, injector, events }: SecretsContext) {
  return (request: InjectSecretsRequest, context: HandlerContext): Promise<InjectSecretsResponse> =>
    requests.run(
      request.requestId,
      "InjectSecrets",
      toBinary(InjectSecretsRequestSchema, request),
      InjectSecretsResponseSchema,
      async () => {
        const { tenant, vmId, generation, guestAddress } = request;
        const guest = { tenant, vmId, generation };
        const injected = await injector.inject(guest, guestAddress, {
          timeoutMs: Math.min(config.injectLimitMs, context.timeoutMs() ?? config.injectLimitMs),
          signal: context.signal,
        });
        events.secretsInjected(guest, injected);
        return create(InjectSecretsResponseSchema, { injected: [...injected] });
      },
    );
}
