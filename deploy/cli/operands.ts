import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  EgressMode,
  type EgressPolicySchema,
  EgressProtocol,
  type NetworkLimitsSchema,
} from "@lobsterd/proto/lobsterd/common/v1/network_pb.ts";
import { IdleMode, type IdlePolicySchema } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { type Operand, type Option, UsageError, type Words } from "./command.ts";

/** A tenant that there is. */
export const tenantOperand: Operand = { name: "TENANT", help: "name of the tenant", completion: "tenant" };

export const backupOperand: Operand = { name: "BACKUP", help: "id of the backup, as `backup ls` shows it" };

/** Whose secret: `@shared` is no name that a tenant can have. */
export const secretOwnerOperand: Operand = {
  name: "TENANT",
  help: "name of the tenant, or @shared for the platform's shared secrets",
  completion: "tenant",
};

/** The tenant of a request for a secret: empty for a shared one. */
export function secretOwner(words: Words): string {
  const name = words.operand("TENANT");
  return name === "@shared" ? "" : name;
}

/** What a tenant may reach. */
export const egressOptions: Readonly<Record<string, Option>> = {
  egress: { value: "MODE", help: "what the tenant may reach", choices: ["internet", "none"] },
  allow: {
    value: "CIDR[:PORT][/tcp|/udp]",
    help: "reach this and nothing else, such as 93.184.216.0/24:443/tcp",
    isRepeatable: true,
  },
};

/** The policy that `egressOptions` ask for; `undefined` if none of them was given. */
export function egressOf(words: Words): MessageInitShape<typeof EgressPolicySchema> | undefined {
  const mode = words.text("egress");
  const rules = words.texts("allow").map(parseRule);
  if (mode !== undefined && rules.length > 0) throw new UsageError("--egress and --allow exclude one another");
  if (rules.length > 0) return { mode: EgressMode.LIST, rules };
  if (mode === undefined) return undefined;
  return { mode: mode === "none" ? EgressMode.NONE : EgressMode.INTERNET };
}

const protocols = { tcp: EgressProtocol.TCP, udp: EgressProtocol.UDP } as const;

function parseRule(text: string): { cidr: string; port: number; protocol: EgressProtocol } {
  const { address, length, port, protocol } =
    /^(?<address>[\d.]+)(?:\/(?<length>\d+))?(?::(?<port>\d{1,5}))?(?:\/(?<protocol>tcp|udp))?$/.exec(text)?.groups ??
    {};
  if (address === undefined) throw new UsageError(`--allow ${text}: not CIDR[:PORT][/tcp|/udp]`);
  return {
    cidr: `${address}/${length ?? "32"}`,
    port: Number(port ?? 0),
    protocol: protocol === "tcp" || protocol === "udp" ? protocols[protocol] : EgressProtocol.UNSPECIFIED,
  };
}

/** How much a tenant may send and receive. */
export const limitOptions: Readonly<Record<string, Option>> = {
  "sent-kbits": { value: "N", help: "kilobits per second that it may send" },
  "received-kbits": { value: "N", help: "kilobits per second that it may receive" },
  "sent-packets": { value: "N", help: "packets per second that it may send" },
  "received-packets": { value: "N", help: "packets per second that it may receive" },
};

const limitFields = {
  "sent-kbits": "sentKbits",
  "received-kbits": "receivedKbits",
  "sent-packets": "sentPackets",
  "received-packets": "receivedPackets",
} as const;
const maxLimit = 10_000_000;

/** The limits that `limitOptions` ask for; `undefined` if none of them was given. */
export function limitsOf(words: Words): MessageInitShape<typeof NetworkLimitsSchema> | undefined {
  const given = Object.entries(limitFields).flatMap(([option, field]) => {
    const value = words.count(option, maxLimit);
    return value === undefined ? [] : [[field, value] as const];
  });
  return given.length === 0 ? undefined : Object.fromEntries(given);
}

/** When the tenant is suspended by itself. */
export const idleOptions: Readonly<Record<string, Option>> = {
  idle: {
    value: "MODE",
    help: "suspend it when it is idle, when it is asked for, or never",
    choices: ["after", "manual", "never"],
  },
  "idle-after": { value: "SECONDS", help: "suspend it when it has been idle for so long" },
};

const idleModes = { after: IdleMode.AFTER, manual: IdleMode.MANUAL, never: IdleMode.NEVER } as const;
const maxIdleSeconds = 86_400;

/** The policy that `idleOptions` ask for; `undefined` if none of them was given. */
export function idleOf(words: Words): MessageInitShape<typeof IdlePolicySchema> | undefined {
  const mode = words.text("idle") as keyof typeof idleModes | undefined;
  const seconds = words.count("idle-after", maxIdleSeconds);
  if (seconds !== undefined && mode !== undefined && mode !== "after")
    throw new UsageError(`--idle-after and --idle ${mode} exclude one another`);
  if (seconds !== undefined) return { mode: IdleMode.AFTER, threshold: { seconds: BigInt(seconds) } };
  return mode === undefined ? undefined : { mode: idleModes[mode] };
}

/** Repeated `KEY=VALUE`. A key twice is a usage error. */
export function labelsOf(words: Words, option: string): Record<string, string> {
  const labels: Record<string, string> = {};
  for (const text of words.texts(option)) {
    const at = text.indexOf("=");
    const key = text.slice(0, Math.max(at, 0));
    if (key === "") throw new UsageError(`--${option} ${text}: not KEY=VALUE`);
    if (Object.hasOwn(labels, key)) throw new UsageError(`--${option} ${key} is given twice`);
    labels[key] = text.slice(at + 1);
  }
  return labels;
}

/** Makes a repeated call the same call. */
export const requestIdOption: Option = {
  value: "UUID",
  help: "repeat an earlier call with this id: the same answer and one effect",
};
