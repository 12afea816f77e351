import { create } from "@bufbuild/protobuf";
import { decodePageToken, encodePageToken, pageSizeOf } from "@lobsterd/chassis/pages.ts";
import {
  type ListClientCertificatesRequest,
  type ListClientCertificatesResponse,
  ListClientCertificatesResponseSchema,
} from "@lobsterd/proto/lobsterd/secrets/v1/client_pb.ts";
import { listKey } from "../clients/client-store.ts";
import type { SecretsContext } from "../service.ts";
import { requireAuthority, toClientCertificate } from "./client-certificate.ts";

export function listClientCertificates({ clients }: SecretsContext) {
  return (request: ListClientCertificatesRequest): ListClientCertificatesResponse => {
    const size = pageSizeOf(request);
    const found = requireAuthority(clients).list(decodePageToken(request.page?.pageToken ?? ""), size + 1);
    const shown = found.slice(0, size);
    const last = shown.at(-1);
    const nextPageToken = found.length > size && last !== undefined ? encodePageToken(listKey(last)) : "";
    return create(ListClientCertificatesResponseSchema, {
      certificates: shown.map(toClientCertificate),
      page: { nextPageToken },
    });
  };
}
