import { create, toBinary } from "@bufbuild/protobuf";
import {
  DrainedTenants,
  type DrainHostRequest,
  DrainHostRequestSchema,
  type DrainHostResponse,
  DrainHostResponseSchema,
} from "@lobsterd/proto/lobsterd/vm/v1/host_pb.ts";
import { toDrainMessage } from "../drain-message.ts";
import type { VmContext } from "../service.ts";

/** Its work goes on after the answer. */
export function drainHost({ requests, drain }: VmContext) {
  return (request: DrainHostRequest): Promise<DrainHostResponse> =>
    requests.run(
      request.requestId,
      "DrainHost",
      toBinary(DrainHostRequestSchema, request),
      DrainHostResponseSchema,
      async () => {
        const tenants = request.tenants === DrainedTenants.KEEP ? "keep" : "suspend";
        const progress = drain.begin({ tenants, reason: request.reason });
        // Its failures are in the progress, and it comes again by itself.
        void drain.run();
        return create(DrainHostResponseSchema, { drain: toDrainMessage(progress) });
      },
    );
}
