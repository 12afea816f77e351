import { create } from "@bufbuild/protobuf";
import {
  type RepairNetworkRequest,
  type RepairNetworkResponse,
  RepairNetworkResponseSchema,
} from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";
import { networkNotFound } from "../errors.ts";
import type { Drift } from "../firewall/drift.ts";
import type { NetContext } from "../routes.ts";

const maxDrifts = 100;

export function repairNetwork({ store, reconcile }: Pick<NetContext, "store" | "reconcile">) {
  return async ({ vmId }: RepairNetworkRequest): Promise<RepairNetworkResponse> => {
    const network = store.find(vmId);
    if (network === undefined) throw networkNotFound(vmId);
    const drifts = (await reconcile(network.slot)).filter((drift) => concerns(drift, network.slot));
    return create(RepairNetworkResponseSchema, { drifts: drifts.slice(0, maxDrifts) });
  };
}

/** Whatever names no slot is every slot's; what names another one is not this caller's to know. */
function concerns({ object }: Drift, slot: number): boolean {
  const named = [...object.matchAll(/\b(?:lob|slot)-(\d+)/g)].map(([, digits]) => Number(digits));
  return named.length === 0 || named.includes(slot);
}
