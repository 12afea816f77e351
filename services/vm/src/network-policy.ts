import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  EgressMode,
  type EgressPolicy,
  type EgressPolicySchema,
  EgressProtocol,
  type NetworkLimits as NetworkLimitsMessage,
} from "@lobsterd/proto/lobsterd/common/v1/network_pb.ts";
import { z } from "zod";

const ruleSchema = z.object({
  cidr: z.string(),
  /** 0 is every port. */
  port: z.number(),
  protocol: z.enum(["any", "tcp", "udp"]),
});

/** What is stored of a tenant's egress. */
export const egressSchema = z.discriminatedUnion("mode", [
  z.object({ mode: z.literal("internet") }),
  z.object({ mode: z.literal("none") }),
  z.object({ mode: z.literal("list"), rules: z.array(ruleSchema) }),
]);

/** What is stored of a tenant's limits: kbit/s and packets/s; 0 is the host's default. */
export const networkLimitsSchema = z.object({
  sentKbits: z.number(),
  receivedKbits: z.number(),
  sentPackets: z.number(),
  receivedPackets: z.number(),
});

/** What a tenant may open connections to. */
export type Egress = Readonly<z.infer<typeof egressSchema>>;
export type NetworkLimits = Readonly<z.infer<typeof networkLimitsSchema>>;

type EgressRule = z.infer<typeof ruleSchema>;

const protocols = { any: EgressProtocol.UNSPECIFIED, tcp: EgressProtocol.TCP, udp: EgressProtocol.UDP } as const;

/** The policy of a request; one that is absent or says nothing means the internet. */
export function toEgress(message: EgressPolicy | undefined): Egress {
  switch (message?.mode) {
    case EgressMode.NONE:
      return { mode: "none" };
    case EgressMode.LIST:
      return { mode: "list", rules: message.rules.map(toRule) };
    default:
      return { mode: "internet" };
  }
}

export function toEgressMessage(egress: Egress): MessageInitShape<typeof EgressPolicySchema> {
  switch (egress.mode) {
    case "internet":
      return { mode: EgressMode.INTERNET };
    case "none":
      return { mode: EgressMode.NONE };
    case "list":
      return {
        mode: EgressMode.LIST,
        rules: egress.rules.map(({ cidr, port, protocol }) => ({ cidr, port, protocol: protocols[protocol] })),
      };
  }
}

export function toNetworkLimits(message: NetworkLimitsMessage | undefined): NetworkLimits {
  return {
    sentKbits: message?.sentKbits ?? 0,
    receivedKbits: message?.receivedKbits ?? 0,
    sentPackets: message?.sentPackets ?? 0,
    receivedPackets: message?.receivedPackets ?? 0,
  };
}

/** Whether two policies let the same through: rules are a set, so neither their order nor one given twice matters. */
export function sameEgress(a: Egress, b: Egress): boolean {
  return canonical(a) === canonical(b);
}

function canonical(egress: Egress): string {
  if (egress.mode !== "list") return egress.mode;
  return [...new Set(egress.rules.map(({ cidr, port, protocol }) => `${cidr} ${port} ${protocol}`))].sort().join();
}

function toRule({ cidr, port, protocol }: EgressPolicy["rules"][number]): EgressRule {
  const name = protocol === EgressProtocol.TCP ? "tcp" : protocol === EgressProtocol.UDP ? "udp" : "any";
  return { cidr, port, protocol: name };
}
