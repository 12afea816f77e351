import { randomUUID } from "node:crypto";
import type { StackClients } from "../client/clients.ts";
import { askFront, hostOf } from "../client/front.ts";
import type { StackEnv } from "../client/stack-env.ts";
import { fetchTrace, type TraceSpan } from "../client/trace.ts";

/** Times of one spawn, in milliseconds. */
export interface SpawnTimes {
  /** From the call to the first answer over HTTPS. */
  readonly totalMs: number;
  /** The call of SpawnTenant less the time in which the guest was waited for. */
  readonly controlPlaneMs: number;
}

/** Spans in which nothing happens but waiting for the guest: `vm` for its boot and its workload, `secrets` for its answer. */
const waits: readonly { readonly service: string; readonly name: string }[] = [
  { service: "vm", name: "await-agent" },
  { service: "vm", name: "await-workload" },
  { service: "secrets", name: "lobsterd.agent.v1.AgentService/InjectSecrets" },
];

export async function measureSpawn(env: StackEnv, clients: StackClients, tenant: string): Promise<SpawnTimes> {
  const start = performance.now();
  await clients.tenants.spawnTenant({ requestId: randomUUID(), name: tenant });
  const callMs = performance.now() - start;
  const { status } = await askFront(env, hostOf(env, tenant), { path: "/health" });
  const totalMs = performance.now() - start;
  if (status !== 200) throw new Error(`the tenant answered ${status}`);
  const spans = await fetchTrace(env.LOBSTERD_TRACES, await traceOf(clients, tenant), {
    services: ["vm", "secrets", "agent"],
    waitMs: 10_000,
  });
  return { totalMs, controlPlaneMs: callMs - waitedMs(spans) };
}

function waitedMs(spans: readonly TraceSpan[]): number {
  const waited = waits.flatMap((wait) =>
    spans.filter(({ service, name }) => service === wait.service && name === wait.name),
  );
  if (waited.length !== waits.length) throw new Error("the trace does not show how long the guest was waited for");
  return waited.reduce((sum, { durationMs }) => sum + durationMs, 0);
}

/** The trace that the audit log names for the spawn. */
async function traceOf({ audit }: StackClients, tenant: string): Promise<string> {
  const { records } = await audit.queryRecords({ tenant, action: "SpawnTenant" });
  const traceId = records.at(-1)?.draft?.traceId;
  if (traceId === undefined || traceId === "") throw new Error("the audit log names no trace of the spawn");
  return traceId;
}
