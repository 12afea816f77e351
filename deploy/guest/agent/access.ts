import type { AgentService } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import type { Standing } from "./caller.ts";

type Method = keyof typeof AgentService.method;

/** The services that may call this agent, each with a token of its own. */
export const callingServices = ["vm", "secrets"] as const;
export type CallingService = (typeof callingServices)[number];

/**
 * Which service may call what. `vm` is not allowed to inject: it never holds a secret. Nobody else is known here, and another
 * guest's certificate is not signed by the platform's authority at all.
 */
export const agentAccess: Readonly<Record<Method, readonly CallingService[]>> = {
  health: ["vm", "secrets"],
  injectSecrets: ["secrets"],
  restartWorkload: ["vm"],
  exec: ["vm"],
  streamLogs: ["vm"],
  getActivity: ["vm"],
  acquireHold: ["vm"],
  releaseHold: ["vm"],
  prepareSuspend: ["vm"],
  completeResume: ["vm"],
  shutdown: ["vm"],
  setClock: ["vm"],
  createIdentityKey: ["vm"],
  installIdentity: ["vm"],
};

/** What a certificate that is not valid yet may call: a guest whose clock is behind cannot tell it from the host's. */
const beforeTheClockIsSet: ReadonlySet<string> = new Set<Method>(["setClock", "createIdentityKey"]);

const pathPrefix = "/lobsterd.agent.v1.AgentService/";

/** What is known of a call before any byte of its body is read. */
export type Call = {
  readonly path: string;
  readonly service: CallingService;
  readonly standing: Standing;
  /** Whether the service's token for this guest and generation came with the call. */
  readonly hasToken: boolean;
};

export type Decision = "allowed" | "expired" | "denied" | "unknown-method" | "clock-behind" | "wrong-token";

/** The service that a certificate's URI names, if it is one of those that may call. */
export function serviceOf(uri: string, trustDomain: string): CallingService | undefined {
  return callingServices.find((service) => uri === `spiffe://${trustDomain}/svc/${service}`);
}

export function decideAccess({ path, service, standing, hasToken }: Call): Decision {
  const name = path.startsWith(pathPrefix) ? path.slice(pathPrefix.length) : "";
  const method = `${name.charAt(0).toLowerCase()}${name.slice(1)}`;
  // Own properties only: "constructor" is not a method.
  if (!/^[A-Z]/.test(name) || !Object.hasOwn(agentAccess, method)) return "unknown-method";
  if (standing === "expired") return "expired";
  if (!agentAccess[method as Method].includes(service)) return "denied";
  if (standing === "early" && !beforeTheClockIsSet.has(method)) return "clock-behind";
  return hasToken ? "allowed" : "wrong-token";
}
