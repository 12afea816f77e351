import type { GetNetworkUsageResponse } from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";
import { type Tenant, TenantState } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { StackClients } from "../client/clients.ts";
import { allOf } from "./pages.ts";

/** One tenant at one moment. */
export interface TenantSample {
  readonly tenant: Tenant;
  /** Absent when it has no network, or `net` could not say. */
  readonly usage: GetNetworkUsageResponse | undefined;
  /** Since the sample before; absent in the first one. */
  readonly receivedBytesPerSecond: number | undefined;
  readonly sentBytesPerSecond: number | undefined;
}

/** Asks at once, so that a thousand tenants do not become a thousand calls at the same time. */
const concurrency = 8;

/** Takes samples, and the rates between one and the next. */
export function createSampler(clients: StackClients, now: () => number, signal: AbortSignal) {
  let before = new Map<string, GetNetworkUsageResponse>();
  let beforeMs = 0;
  return async (): Promise<readonly TenantSample[]> => {
    const tenants = await allOf(
      (page) => clients.tenants.listTenants({ page }, { signal }),
      (answer) => answer.tenants,
    );
    const usages = await usagesOf(clients, tenants, signal);
    const takenMs = now();
    const elapsedSeconds = (takenMs - beforeMs) / 1000;
    const samples = tenants.map((tenant): TenantSample => {
      const usage = usages.get(tenant.vmId);
      const rate = (field: "receivedBytes" | "sentBytes") =>
        perSecond(before.get(tenant.vmId)?.[field], usage?.[field], elapsedSeconds);
      return { tenant, usage, receivedBytesPerSecond: rate("receivedBytes"), sentBytesPerSecond: rate("sentBytes") };
    });
    before = usages;
    beforeMs = takenMs;
    return samples;
  };
}

function perSecond(from: bigint | undefined, to: bigint | undefined, seconds: number): number | undefined {
  if (from === undefined || to === undefined || seconds <= 0 || to < from) return undefined;
  return Math.round(Number(to - from) / seconds);
}

async function usagesOf(
  { net }: StackClients,
  tenants: readonly Tenant[],
  signal: AbortSignal,
): Promise<Map<string, GetNetworkUsageResponse>> {
  const usages = new Map<string, GetNetworkUsageResponse>();
  const waiting = tenants.filter(({ state }) => state === TenantState.RUNNING).values();
  const worker = async () => {
    for (const { vmId } of waiting) {
      const options = { signal, timeoutMs: 2000 };
      // A tenant that was evicted since the list was made has no network: it is shown without numbers.
      const answer = await net.getNetworkUsage({ vmId }, options).catch(() => undefined);
      if (answer !== undefined) usages.set(vmId, answer);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  return usages;
}
