import { randomUUID } from "node:crypto";
import type { StackClients } from "../client/clients.ts";
import { askFront, hostOf } from "../client/front.ts";
import type { StackEnv } from "../client/stack-env.ts";
import { fetchTrace, type TraceSpan } from "../client/trace.ts";

/** Times of one spawn, in milliseconds. */
export interface SpawnTimes {
  /** From the call to the first answer over HTTPS. */
  readonly totalMs: number;
  /** `totalMs` less the time in which the guest was waited for. */
  readonly controlPlaneMs: number;
}

/** Spans in which `vm` does nothing but wait for the guest to boot. */
const waits: readonly string[] = ["await-agent", "await-workload"];

export async function measureSpawn(env: StackEnv, clients: StackClients, tenant: string): Promise<SpawnTimes> {
  const start = performance.now();
  await clients.tenants.spawnTenant({ requestId: randomUUID(), name: tenant });
  const { status } = await askFront(env, hostOf(env, tenant), { path: "/health" });
  const totalMs = performance.now() - start;
  if (status !== 200) throw new Error(`the tenant answered ${status}`);
  const spans = await fetchTrace(env.LOBSTERD_TRACES, await traceOf(clients, tenant), {
    services: ["vm", "agent"],
    waitMs: 10_000,
  });
  return { totalMs, controlPlaneMs: totalMs - waitedMs(spans) };
}

function waitedMs(spans: readonly TraceSpan[]): number {
  const waited = spans.filter(({ service, name }) => service === "vm" && waits.includes(name));
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
