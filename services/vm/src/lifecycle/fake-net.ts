/** `net` in memory: it remembers what is attached. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, type ServiceImpl } from "@connectrpc/connect";
import { defineErrors, toConnectError } from "@lobsterd/chassis/errors.ts";
import type { EgressPolicy, NetworkLimits } from "@lobsterd/proto/lobsterd/common/v1/network_pb.ts";
import {
  AttachNetworkResponseSchema,
  DetachNetworkResponseSchema,
  GetNetworkUsageResponseSchema,
  ListNetworksResponseSchema,
  NetworkSchema,
  type NetworkService,
  UpdateNetworkEgressResponseSchema,
} from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";
import { type AskedFailures, failAsAsked } from "./fake-failures.ts";

/** A network as it was asked for. */
export interface FakeNetwork {
  readonly slot: number;
  readonly egress?: EgressPolicy | undefined;
  readonly limits?: NetworkLimits | undefined;
}

export interface FakeNet {
  readonly networks: Map<string, FakeNetwork>;
  /** What it counts of each VM's connections; nothing goes on where nothing is said. */
  readonly usage: Map<string, MessageInitShape<typeof GetNetworkUsageResponseSchema>>;
  /** What it will find changed and repair when it is asked. */
  readonly drifts: { kind: string; object: string }[];
}

const missing = defineErrors("fake.lobsterd", { NETWORK_NOT_FOUND: Code.NotFound });

export function networkHandlers(state: FakeNet & AskedFailures): Partial<ServiceImpl<typeof NetworkService>> {
  const { networks, usage, drifts, holding } = state;
  const { attempt, admit, requireWilling } = failAsAsked(state);
  return {
    attachNetwork: ({ vmId, slot, egress, limits }) => {
      admit("attachNetwork");
      // As net does: what a microVM has it keeps, under the policy that it has by now.
      if (!networks.has(vmId)) networks.set(vmId, { slot, egress, limits });
      attempt("attachNetwork");
      return create(AttachNetworkResponseSchema, {
        network: { vmId, slot, guestAddress: `10.201.0.${2 * slot + 1}`, resolverAddresses: ["45.0.0.53"] },
      });
    },
    detachNetwork: ({ vmId }) => {
      attempt("detachNetwork");
      requireWilling(vmId);
      networks.delete(vmId);
      return create(DetachNetworkResponseSchema);
    },
    updateNetworkEgress: async ({ vmId, egress }) => {
      await holding.get("updateNetworkEgress");
      admit("updateNetworkEgress");
      const network = networks.get(vmId);
      if (network === undefined) throw new ConnectError("no network", Code.NotFound);
      networks.set(vmId, { ...network, egress });
      attempt("updateNetworkEgress");
      return create(UpdateNetworkEgressResponseSchema);
    },
    getNetworkUsage: ({ vmId }) => {
      attempt("getNetworkUsage");
      return create(GetNetworkUsageResponseSchema, usage.get(vmId));
    },
    updateNetworkLimits: ({ vmId, limits }) => {
      const network = networks.get(vmId);
      if (network === undefined) throw toConnectError(missing("NETWORK_NOT_FOUND", "no network"));
      networks.set(vmId, { ...network, limits });
      attempt("updateNetworkLimits");
      return {};
    },
    getNetwork: ({ vmId }) => {
      attempt("getNetwork");
      const network = networks.get(vmId);
      if (network === undefined) throw toConnectError(missing("NETWORK_NOT_FOUND", "no network"));
      const { slot, egress, limits } = network;
      return { network: create(NetworkSchema, { vmId, slot, ...(egress && { egress }), ...(limits && { limits }) }) };
    },
    repairNetwork: ({ vmId }) => {
      if (!networks.has(vmId)) throw toConnectError(missing("NETWORK_NOT_FOUND", "no network"));
      return { drifts: drifts.splice(0) };
    },
    listNetworks: () =>
      create(ListNetworksResponseSchema, {
        networks: [...networks].map(([vmId, { slot, egress, limits }]) =>
          create(NetworkSchema, { vmId, slot, ...(egress && { egress }), ...(limits && { limits }) }),
        ),
      }),
  };
}
