/** The call that asks a guest what goes on in it: `agent.ts` has the invariants of the channel. */
import type { createGuestAgentClient } from "@lobsterd/chassis/client.ts";
import type { GetActivityResponse } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import type { TenantRecord } from "../store/tenant-record.ts";
import { reachable, withinContract } from "./contract.ts";

/** What a guest claims. */
export type GuestActivity = Pick<GetActivityResponse, "inboundConnections" | "holds" | "runningJobs" | "nextRuns">;

export interface GuestLook {
  /** Throws GUEST_MISBEHAVED, or GUEST_UNREACHABLE when it does not answer within `limitMs`. */
  activity(tenant: TenantRecord, limitMs: number, signal: AbortSignal): Promise<GuestActivity>;
}

export function openLook(clientOf: (tenant: TenantRecord) => ReturnType<typeof createGuestAgentClient>): GuestLook {
  return {
    activity: (tenant, limitMs, signal) =>
      reachable(() => withinContract(() => clientOf(tenant).client.getActivity({}, { signal, timeoutMs: limitMs }))),
  };
}
