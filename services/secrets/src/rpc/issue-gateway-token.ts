import { create } from "@bufbuild/protobuf";
import {
  type IssueGatewayTokenRequest,
  IssueGatewayTokenRequestSchema,
  type IssueGatewayTokenResponse,
  IssueGatewayTokenResponseSchema,
} from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import type { SecretsContext } from "../service.ts";
import { claimRequestId } from "./request-claim.ts";

export function issueGatewayToken({ requests, sealed }: SecretsContext) {
  return async (request: IssueGatewayTokenRequest): Promise<IssueGatewayTokenResponse> => {
    await claimRequestId(requests, request.requestId, IssueGatewayTokenRequestSchema, request);
    using token = await sealed.openGatewayToken(request.tenant, "person");
    return create(IssueGatewayTokenResponseSchema, {
      token: { value: token.use((bytes) => Uint8Array.from(bytes)) },
    });
  };
}
