import { readFileSync } from "node:fs";
import { create, toBinary } from "@bufbuild/protobuf";
import {
  ClientRole,
  type IssueClientCertificateRequest,
  IssueClientCertificateRequestSchema,
  type IssueClientCertificateResponse,
  IssueClientCertificateResponseSchema,
} from "@lobsterd/proto/lobsterd/secrets/v1/client_pb.ts";
import type { SecretsContext } from "../service.ts";
import { requireAuthority, toClientCertificate } from "./client-certificate.ts";

export function issueClientCertificate({ config, requests, clients, events }: SecretsContext) {
  return (request: IssueClientCertificateRequest): Promise<IssueClientCertificateResponse> =>
    requests.run(
      request.requestId,
      "IssueClientCertificate",
      toBinary(IssueClientCertificateRequestSchema, request),
      IssueClientCertificateResponseSchema,
      async () => {
        const { name, csrPem, lifetimeDays, reissue } = request;
        const role = request.role === ClientRole.OWNER ? "owner" : "viewer";
        const issued = await requireAuthority(clients).issue({ name, role, csrPem, lifetimeDays, reissue });
        events.clientCertificateIssued(issued.client);
        return create(IssueClientCertificateResponseSchema, {
          certificate: toClientCertificate(issued.client),
          certificatePem: issued.certificatePem,
          platformCaPem: readFileSync(config.tls.platformCaPath, "utf8"),
        });
      },
    );
}
