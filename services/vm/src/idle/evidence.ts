import { durationMs } from "@bufbuild/protobuf/wkt";
import type { Client } from "@connectrpc/connect";
import type { NetworkService } from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";
import type { GuestLook } from "../guest/agent-activity.ts";
import type { Holds } from "../holds/holds.ts";
import { isRunDue, toScheduledRuns } from "../schedules/runs.ts";
import type { TenantRecord } from "../store/tenant-record.ts";

/** What one look at a tenant found. Words as GetTenant shows them. */
export interface Evidence {
  /** What the host itself sees, and a guest cannot pretend: `hold`, `outbound-connection`, `inbound-connection`. */
  readonly seen: readonly string[];
  /** What the guest says and nobody else knows: `guest-hold`, `guest-job`, `guest-run`. */
  readonly claimed: readonly string[];
  /** Since the last packet of a connection to the gateway; undefined when there is none. */
  readonly inboundSilenceMs: number | undefined;
}

export interface EvidenceParts {
  readonly holds: Pick<Holds, "count">;
  readonly net: Pick<Client<typeof NetworkService>, "getNetworkUsage">;
  readonly guests: GuestLook;
  /** How long before a run a tenant would be resumed. */
  readonly leadMs: number;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

/** Who is slower to say is not known to be idle, and that is all there is to it. */
const lookLimitMs = 5_000;

/**
 * Looks at a tenant, the cheapest things first: what is found to be in use needs no further question. Throws what `net` or the guest failed with: a
 * tenant of which not everything is known is not known to be idle.
 */
export async function gatherEvidence(
  { holds, net, guests, leadMs, now }: EvidenceParts,
  tenant: TenantRecord,
  signal: AbortSignal,
): Promise<Evidence> {
  const inUse = (by: string): Evidence => ({ seen: [by], claimed: [], inboundSilenceMs: undefined });
  const { vmId } = tenant;
  if (holds.count(vmId) > 0) return inUse("hold");
  const usage = await net.getNetworkUsage({ vmId }, { signal, timeoutMs: lookLimitMs });
  if (usage.outboundConnections > 0) return inUse("outbound-connection");
  const activity = await guests.activity(tenant, lookLimitMs, signal);
  // Caddy keeps connections that nobody uses; the guest cannot claim more of them than there are.
  const isServing = usage.inboundConnections > 0 && activity.inboundConnections > 0;
  return {
    seen: isServing ? ["inbound-connection"] : [],
    claimed: [
      ...(activity.holds > 0 ? ["guest-hold"] : []),
      ...(activity.runningJobs > 0 ? ["guest-job"] : []),
      ...(isRunDue(toScheduledRuns(activity.nextRuns), { ...tenant, nowMs: now(), leadMs }) ? ["guest-run"] : []),
    ],
    inboundSilenceMs: usage.inboundSilence === undefined ? undefined : durationMs(usage.inboundSilence),
  };
}
