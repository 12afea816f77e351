import { randomUUID } from "node:crypto";
import { Agent } from "node:https";
import type { StackClients } from "../client/clients.ts";
import { askFront, hostOf } from "../client/front.ts";
import type { StackEnv } from "../client/stack-env.ts";

/** Times of one eviction, in milliseconds from the call. */
export interface EvictTimes {
  /** First moment at which a request over a connection that was open before is not answered by the tenant any more. */
  readonly refusedMs: number;
  readonly returnedMs: number;
}

export async function measureEvict(env: StackEnv, clients: StackClients, tenant: string): Promise<EvictTimes> {
  const agent = new Agent({ keepAlive: true });
  const host = hostOf(env, tenant);
  const isAnswered = () =>
    askFront(env, host, { path: "/health", agent, timeoutMs: 5000 }).then(
      ({ status }) => status === 200,
      () => false,
    );
  if (!(await isAnswered())) throw new Error("the tenant does not answer before it is evicted");
  const start = performance.now();
  let returnedMs = 0;
  const evicting = clients.tenants.evictTenant({ requestId: randomUUID(), name: tenant }).then(() => {
    returnedMs = performance.now() - start;
  });
  while (await isAnswered()) {
    if (performance.now() - start > 10_000) throw new Error("the tenant is answered 10 s after its eviction began");
  }
  const refusedMs = performance.now() - start;
  await evicting;
  agent.destroy();
  return { refusedMs, returnedMs };
}
