import { randomUUID } from "node:crypto";
import type { CallOptions } from "@connectrpc/connect";
import type { Network } from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";
import { toEgressMessage } from "../network-policy.ts";
import type { TenantRecord } from "../store/tenant-record.ts";
import type { HostParts } from "./host-parts.ts";

/** Gives a tenant's microVM its network, under the tenant's policy and limits. The same again changes nothing. */
export async function attachTenantNetwork(
  { net }: Pick<HostParts, "net">,
  { vmId, slot, egress, networkLimits }: TenantRecord,
  options: CallOptions = {},
): Promise<Network | undefined> {
  const request = { requestId: randomUUID(), vmId, slot, egress: toEgressMessage(egress), limits: networkLimits };
  const { network } = await net.attachNetwork(request, options);
  return network;
}
