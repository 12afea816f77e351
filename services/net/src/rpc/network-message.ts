import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import {
  EgressMode,
  type EgressPolicy,
  type EgressPolicySchema,
  EgressProtocol,
  type NetworkLimits,
} from "@lobsterd/proto/lobsterd/common/v1/network_pb.ts";
import { type Network, NetworkSchema } from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";
import type { NetworkRecord } from "../networks/network-store.ts";
import type { Egress, EgressRule, Limits } from "../networks/policy.ts";
import { planSlot } from "../slots/address-plan.ts";

/** A record as callers see it: with everything that follows from its slot. */
export function toNetwork(record: NetworkRecord, resolverAddresses: readonly string[]): Network {
  const { vmId, slot, attachTimeMs, egress, limits } = record;
  const { guestAddress, hostAddress, hostInterface } = planSlot(slot);
  const fields: MessageInitShape<typeof NetworkSchema> = {
    vmId,
    slot,
    guestAddress,
    hostAddress,
    hostInterface,
    attachTime: timestampFromMs(attachTimeMs),
    egress: toEgressPolicy(egress),
    limits,
    resolverAddresses: [...resolverAddresses],
  };
  return create(NetworkSchema, fields);
}

/** What a caller asks for; without a policy, the internet. */
export function fromEgressPolicy(policy: EgressPolicy | undefined): Egress {
  switch (policy?.mode) {
    case EgressMode.NONE:
      return { mode: "none" };
    case EgressMode.LIST:
      return { mode: "list", rules: policy.rules.map(fromRule) };
    default:
      return { mode: "internet" };
  }
}

/** What a caller asks for; 0 is the default. */
export function fromLimits(asked: NetworkLimits | undefined, defaults: Limits): Limits {
  return {
    sentKbits: asked?.sentKbits || defaults.sentKbits,
    receivedKbits: asked?.receivedKbits || defaults.receivedKbits,
    sentPackets: asked?.sentPackets || defaults.sentPackets,
    receivedPackets: asked?.receivedPackets || defaults.receivedPackets,
  };
}

function fromRule({ cidr, port, protocol }: EgressPolicy["rules"][number]): EgressRule {
  return {
    cidr,
    port: port === 0 ? undefined : port,
    protocol: protocol === EgressProtocol.TCP ? "tcp" : protocol === EgressProtocol.UDP ? "udp" : undefined,
  };
}

function toEgressPolicy(egress: Egress): MessageInitShape<typeof EgressPolicySchema> {
  if (egress.mode !== "list") return { mode: egress.mode === "none" ? EgressMode.NONE : EgressMode.INTERNET };
  return {
    mode: EgressMode.LIST,
    rules: egress.rules.map(({ cidr, port, protocol }) => ({
      cidr,
      port: port ?? 0,
      protocol: protocol === undefined ? EgressProtocol.UNSPECIFIED : protocolValues[protocol],
    })),
  };
}

const protocolValues = { tcp: EgressProtocol.TCP, udp: EgressProtocol.UDP } as const;
