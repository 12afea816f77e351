import { randomUUID } from "node:crypto";
import type { CallOptions } from "@connectrpc/connect";
import type { TenantRecord } from "../store/tenants.ts";
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
  await proxy.publishRoute({ requestId: randomUUID(), ...route }, options);
}
