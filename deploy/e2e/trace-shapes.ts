/** What the one trace of an operation on a tenant has to have, from the caller to the guest's agent: data, one entry for each kind of operation. */
import { AgentService } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { AuditService } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { NetworkService } from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";
import { RouteService } from "@lobsterd/proto/lobsterd/proxy/v1/proxy_pb.ts";
import { SecretService } from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import { TenantService } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { TraceSpan } from "../client/trace.ts";

/** A span that has to be there, by who made it, its name, and the name of a span that it has to be below. */
export interface SpanShape {
  readonly service: string;
  readonly name: string;
  readonly below: string;
}

export interface TraceShape {
  /** The one span that is below no other: `vm`'s of the call, whose parent is the caller's, or where the platform began by itself. */
  readonly root: { readonly service: string; readonly name: string };
  readonly spans: readonly SpanShape[];
}

const rpc = ({ parent, name }: { readonly parent: { readonly typeName: string }; readonly name: string }): string =>
  `${parent.typeName}/${name}`;

/** Spans of `vm` that have to be below `root`. */
function steps(root: string, ...names: readonly string[]): readonly SpanShape[] {
  return names.map((name) => ({ service: "vm", name, below: root }));
}

/** A call of another service, as that service saw it, below a step. */
function served(service: string, method: Parameters<typeof rpc>[0], below: string): SpanShape {
  return { service, name: rpc(method), below };
}

/** Intent and outcome. */
const recorded = (root: string): SpanShape => served("audit", AuditService.method.appendRecord, root);

const spawned = rpc(TenantService.method.spawnTenant);
const suspended = rpc(TenantService.method.suspendTenant);
const woken = rpc(TenantService.method.wakeTenant);
const resumed = rpc(TenantService.method.resumeTenant);
const evicted = rpc(TenantService.method.evictTenant);

/** What brings a suspended tenant back, below the call that asks for it. */
function back(root: string): readonly SpanShape[] {
  return [
    ...steps(root, "boot-queue", "open-state", "join-network", "load-state", "run-guest", "renew-identity"),
    ...steps(root, "return-secrets", "wake-workload", "return-route", "send vm.resumed"),
    ...steps("renew-identity", rpc(AgentService.method.createIdentityKey), rpc(AgentService.method.installIdentity)),
    ...steps("wake-workload", rpc(AgentService.method.completeResume)),
    served("secrets", SecretService.method.unwrapDataKey, "open-state"),
    served("net", NetworkService.method.attachNetwork, "join-network"),
    served("secrets", SecretService.method.renewGuestIdentity, "renew-identity"),
    served("secrets", SecretService.method.injectSecrets, "return-secrets"),
    { service: "agent", name: "AgentService/InjectSecrets", below: rpc(SecretService.method.injectSecrets) },
    served("proxy", RouteService.method.publishRoute, "return-route"),
  ];
}

export const traceShapes = {
  spawn: {
    root: { service: "vm", name: spawned },
    spans: [
      recorded(spawned),
      ...steps(spawned, "boot-queue", "attach-network", "issue-identity", "prepare-jail", "boot-guest"),
      ...steps(spawned, "empty-identity-drive", "inject-secrets", "await-workload", "publish-route", "send vm.spawned"),
      ...steps("boot-guest", "start-vmm", "await-agent"),
      ...steps(
        "start-vmm",
        "launcher prepare",
        "launcher jail",
        "launcher vmm",
        "launcher readBack",
        "launcher resume",
      ),
      served("net", NetworkService.method.attachNetwork, "attach-network"),
      served("secrets", SecretService.method.issueGuestIdentity, "issue-identity"),
      served("secrets", SecretService.method.createDataKey, "prepare-jail"),
      served("secrets", SecretService.method.acquireInjectionLease, "inject-secrets"),
      served("secrets", SecretService.method.injectSecrets, "inject-secrets"),
      served("proxy", RouteService.method.publishRoute, "publish-route"),
      {
        service: "secrets",
        name: rpc(AgentService.method.injectSecrets),
        below: rpc(SecretService.method.injectSecrets),
      },
      { service: "agent", name: "guest.boot", below: "boot-guest" },
      { service: "agent", name: "AgentService/InjectSecrets", below: rpc(SecretService.method.injectSecrets) },
      { service: "agent", name: "workload.start", below: spawned },
    ],
  },
  suspend: {
    root: { service: "vm", name: suspended },
    spans: [
      recorded(suspended),
      served("secrets", SecretService.method.createDataKey, suspended),
      ...steps(suspended, "sleep-route", "quiesce-guest", "seal-state", "stop-microvm"),
      ...steps(suspended, "detach-network", "send vm.suspended"),
      ...steps("quiesce-guest", rpc(AgentService.method.prepareSuspend)),
      served("proxy", RouteService.method.publishRoute, "sleep-route"),
      served("net", NetworkService.method.detachNetwork, "detach-network"),
    ],
  },
  resume: {
    root: { service: "vm", name: resumed },
    spans: [recorded(resumed), ...back(resumed)],
  },
  /** By a request to the front: nobody called, so the trace begins where `proxy` asks `vm`. */
  wake: {
    root: { service: "proxy", name: "wake-tenant" },
    spans: [{ service: "vm", name: woken, below: "wake-tenant" }, recorded(woken), ...back(woken)],
  },
  evict: {
    root: { service: "vm", name: evicted },
    spans: [
      recorded(evicted),
      ...steps(evicted, "remove-route", "remove-network", "remove-microvm", "remove-keys", "send vm.evicted"),
      served("proxy", RouteService.method.withdrawRoute, "remove-route"),
      served("net", NetworkService.method.detachNetwork, "remove-network"),
      served("secrets", SecretService.method.shredTenant, "remove-keys"),
    ],
  },
} as const satisfies Readonly<Record<string, TraceShape>>;

/** What a trace lacks, or has too much of: more than one root, a span without its parent, a failed step. Empty: it is complete. */
export function traceFaults(spans: readonly TraceSpan[], shape: TraceShape, callerSpanId: string): readonly string[] {
  const byId = new Map(spans.map((span) => [span.spanId, span]));
  const faults: string[] = [];
  const roots = spans.filter(({ parentSpanId }) => !byId.has(parentSpanId));
  for (const { service, name, parentSpanId } of roots) {
    if (service !== shape.root.service || name !== shape.root.name || parentSpanId !== callerSpanId)
      faults.push(`${service} ${name} is below nothing that is in the trace`);
  }
  if (roots.length !== 1) faults.push(`${roots.length} roots`);
  for (const { service, name, below } of shape.spans) {
    const found = spans.filter((span) => span.service === service && span.name === name);
    if (found.length === 0) faults.push(`no span ${name} of ${service}`);
    else if (!found.some((span) => ancestorsOf(span, byId).some((ancestor) => ancestor.name === below)))
      faults.push(`${name} of ${service} is not below ${below}`);
    if (found.some(({ failed }) => failed)) faults.push(`${name} of ${service} failed`);
  }
  return faults;
}

function ancestorsOf(span: TraceSpan, byId: ReadonlyMap<string, TraceSpan>): readonly TraceSpan[] {
  const ancestors: TraceSpan[] = [];
  // A trace is what processes sent, so its parents may run in a circle.
  for (let next = byId.get(span.parentSpanId); next !== undefined; next = byId.get(next.parentSpanId)) {
    if (ancestors.includes(next)) break;
    ancestors.push(next);
  }
  return ancestors;
}
