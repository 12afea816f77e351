import { create, toBinary } from "@bufbuild/protobuf";
import type { HandlerContext } from "@connectrpc/connect";
import {
  type InjectSecretsRequest,
  InjectSecretsRequestSchema,
  type InjectSecretsResponse,
  InjectSecretsResponseSchema,
} from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import type { SecretsContext } from "../service.ts";

export function injectSecrets({ config, requests, inject, rotation, events }: SecretsContext) {
  return (request: InjectSecretsRequest, context: HandlerContext): Promise<InjectSecretsResponse> =>
    requests.run(request.requestId, "InjectSecrets", digestible(request), InjectSecretsResponseSchema, async () => {
      const { tenant, vmId, generation, guestAddress, labels } = request;
      const guest = { tenant, vmId, generation, guestAddress, labels };
      const injected = await inject(guest, {
        timeoutMs: Math.min(config.injectLimitMs, context.timeoutMs() ?? config.injectLimitMs),
        signal: context.signal,
      });
      events.secretsInjected(guest, injected);
      // A version that was put while the set was on its way is not in it.
      rotation.check(tenant);
      return create(InjectSecretsResponseSchema, { injected: [...injected] });
    });
}

/** A map has no order on the wire: sorted, the same request is the same bytes. */
function digestible(request: InjectSecretsRequest): Uint8Array {
  const labels = Object.fromEntries(Object.entries(request.labels).sort(([a], [b]) => (a < b ? -1 : 1)));
  return toBinary(InjectSecretsRequestSchema, { ...request, labels });
}
