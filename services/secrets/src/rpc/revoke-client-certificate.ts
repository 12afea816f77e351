import { create, toBinary } from "@bufbuild/protobuf";
import {
  type RevokeClientCertificateRequest,
  RevokeClientCertificateRequestSchema,
  type RevokeClientCertificateResponse,
  RevokeClientCertificateResponseSchema,
} from "@lobsterd/proto/lobsterd/secrets/v1/client_pb.ts";
import type { SecretsContext } from "../service.ts";
import { requireAuthority } from "./client-certificate.ts";

export function revokeClientCertificate({ requests, clients, events }: SecretsContext) {
  return (request: RevokeClientCertificateRequest): Promise<RevokeClientCertificateResponse> =>
    requests.run(
      request.requestId,
      "RevokeClientCertificate",
      toBinary(RevokeClientCertificateRequestSchema, request),
      RevokeClientCertificateResponseSchema,
      async () => {
        const serialNumbers = requireAuthority(clients).revoke(request.name, request.serialNumber);
        events.clientCertificatesRevoked(request.name, serialNumbers);
        return create(RevokeClientCertificateResponseSchema, { serialNumbers });
      },
    );
}
