import { randomUUID } from "node:crypto";
import type { CallOptions } from "@connectrpc/connect";
import { RouteState } from "@lobsterd/proto/lobsterd/proxy/v1/proxy_pb.ts";
import type { TenantRecord } from "../store/tenant-record.ts";
import type { HostParts } from "./host-parts.ts";

/**
 * Makes a tenant's names lead to its guest: its own, and its extra ones as a whole. Safe to repeat. Throws `proxy`'s reasons, such as
 * HOST_NAME_TAKEN and HOST_NAME_RESERVED.
 */
export async function publishTenantRoute(
  { proxy }: Pick<HostParts, "proxy">,
  { name, vmId, generation, guestAddress, extraHostNames }: TenantRecord,
  options?: CallOptions,
): Promise<void> {
  const route = { tenant: name, vmId, generation, guestAddress, extraHostNames: [...extraHostNames] };
  await proxy.publishRoute({ requestId: randomUUID(), ...route, state: RouteState.AWAKE }, options);
}

/**
 * Keeps a tenant's names and has a request to one of them ask for its wake, from the next one on; to its guest goes none any more. Safe to repeat.
 * `proxy` takes no generation back from sleep: what runs next is published under a later one.
 */
export async function putRouteToSleep(
  { proxy }: Pick<HostParts, "proxy">,
  { name, vmId, generation, extraHostNames }: TenantRecord,
  options?: CallOptions,
): Promise<void> {
  const route = { tenant: name, vmId, generation, extraHostNames: [...extraHostNames] };
  await proxy.publishRoute({ requestId: randomUUID(), ...route, state: RouteState.ASLEEP }, options);
}
