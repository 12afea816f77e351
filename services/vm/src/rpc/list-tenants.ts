import { create } from "@bufbuild/protobuf";
import type { HandlerContext } from "@connectrpc/connect";
import { ownerOf } from "@lobsterd/chassis/owners.ts";
import { decodePageToken, encodePageToken, pageSizeOf } from "@lobsterd/chassis/pages.ts";
import {
  type ListTenantsRequest,
  type ListTenantsResponse,
  ListTenantsResponseSchema,
} from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { VmContext } from "../service.ts";
import { toTenantMessage } from "../tenant-message.ts";

export function listTenants({ config, tenants }: VmContext) {
  return (request: ListTenantsRequest, call: Pick<HandlerContext, "values">): ListTenantsResponse => {
    const size = pageSizeOf(request);
    const found = tenants.page(decodePageToken(request.page?.pageToken ?? ""), size + 1, ownerOf(call));
    const shown = found.slice(0, size);
    const last = shown.at(-1);
    const nextPageToken = found.length > size && last !== undefined ? encodePageToken(last.name) : "";
    return create(ListTenantsResponseSchema, {
      tenants: shown.map((tenant) => toTenantMessage(tenant, config)),
      page: { nextPageToken },
    });
  };
}
