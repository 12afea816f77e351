import { create, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import {
  type AcquireInjectionLeaseRequest,
  AcquireInjectionLeaseRequestSchema,
  type AcquireInjectionLeaseResponse,
  AcquireInjectionLeaseResponseSchema,
} from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import type { SecretsContext } from "../service.ts";

export function acquireInjectionLease({ requests, acquireLease }: SecretsContext) {
  return (request: AcquireInjectionLeaseRequest): Promise<AcquireInjectionLeaseResponse> =>
    requests.run(
      request.requestId,
      "AcquireInjectionLease",
      toBinary(AcquireInjectionLeaseRequestSchema, request),
      AcquireInjectionLeaseResponseSchema,
      async () => {
        const { tenant, vmId, generation } = request;
        const expireTimeMs = acquireLease({ tenant, vmId, generation });
        return create(AcquireInjectionLeaseResponseSchema, { expireTime: timestampFromMs(expireTimeMs) });
      },
    );
}
