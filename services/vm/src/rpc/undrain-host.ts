import { create, toBinary } from "@bufbuild/protobuf";
import {
  type UndrainHostRequest,
  UndrainHostRequestSchema,
  type UndrainHostResponse,
  UndrainHostResponseSchema,
} from "@lobsterd/proto/lobsterd/vm/v1/host_pb.ts";
import type { VmContext } from "../service.ts";

export function undrainHost({ requests, drain }: VmContext) {
  return (request: UndrainHostRequest): Promise<UndrainHostResponse> =>
    requests.run(
      request.requestId,
      "UndrainHost",
      toBinary(UndrainHostRequestSchema, request),
      UndrainHostResponseSchema,
      async () => {
        drain.end();
        return create(UndrainHostResponseSchema);
      },
    );
}
