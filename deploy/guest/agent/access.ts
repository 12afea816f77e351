import type { AgentService } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";

type Method = keyof typeof AgentService.method;
type Service = "vm" | "secrets";

/**
 * Which service may call what. `vm` is not allowed to inject: it never holds a secret. Nobody else is known here, and another
 * guest's certificate is not signed by the platform's authority at all.
 */
export const agentAccess: Readonly<Record<Method, readonly Service[]>> = {
  health: ["vm", "secrets"],
  injectSecrets: ["secrets"],
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

const pathPrefix = "/lobsterd.agent.v1.AgentService/";

/** What to do with a call, decided from the certificate and the path alone, before any byte of the body is read. */
export type Decision = "allowed" | "unauthenticated" | "denied" | "unknown-method";

export function decideAccess(path: string, caller: string | undefined, trustDomain: string): Decision {
  if (caller === undefined) return "unauthenticated";
  const name = path.startsWith(pathPrefix) ? path.slice(pathPrefix.length) : "";
  const method = `${name.charAt(0).toLowerCase()}${name.slice(1)}`;
  // Own properties only: "constructor" is not a method.
  if (!/^[A-Z]/.test(name) || !Object.hasOwn(agentAccess, method)) return "unknown-method";
  const services = agentAccess[method as Method];
  return services.some((service) => caller === `spiffe://${trustDomain}/svc/${service}`) ? "allowed" : "denied";
}
