import { randomUUID } from "node:crypto";
import { availableParallelism } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { TenantState } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { StackClients } from "../../client/clients.ts";
import { askFront, hostOf } from "../../client/front.ts";
import type { StackEnv } from "../../client/stack-env.ts";
import { report } from "../report.ts";

const patience = { path: "/health", timeoutMs: 60_000 };
/** So many that their queue shows, and no more than a machine of tests holds. */
const together = 8;
const lookMs = 100;

/**
 * What a request to a suspended tenant waits, beside a resume by an operator and the first answer after it: rounds alternate. Then the same for
 * eight sleeping tenants that are asked for at once.
 */
export async function measureWakes(
  env: StackEnv,
  clients: StackClients,
  rounds: number,
  progress: (line: string) => void,
) {
  const resumes: number[] = [];
  const wakes: number[] = [];
  const names = Array.from({ length: together }, () => `bench-${randomUUID().slice(0, 8)}`);
  const [name = ""] = names;
  const suspend = (tenant: string) => clients.tenants.suspendTenant({ requestId: randomUUID(), name: tenant });
  const answer = async (tenant: string): Promise<void> => {
    const { status } = await askFront(env, hostOf(env, tenant), patience);
    if (status !== 200) throw new Error(`${tenant} answered ${status}`);
  };
  const timed = async (run: () => Promise<unknown>): Promise<number> => {
    const begin = performance.now();
    await run();
    return performance.now() - begin;
  };
  try {
    for (const tenant of names) await clients.tenants.spawnTenant({ requestId: randomUUID(), name: tenant });
    for (let round = 0; round < rounds; round++) {
      await suspend(name);
      const resume = () => clients.tenants.resumeTenant({ requestId: randomUUID(), name });
      resumes.push(await timed(() => resume().then(() => answer(name))));
      await suspend(name);
      wakes.push(await timed(() => answer(name)));
      progress(`round ${round + 1} of ${rounds}`);
    }
    for (const tenant of names) await suspend(tenant);
    const asked = Promise.all(names.map((tenant) => timed(() => answer(tenant))));
    const [eight, most] = await Promise.all([asked, mostResuming(clients, asked)]);
    report("ResumeTenant to first HTTPS answer", resumes);
    report("request to a suspended tenant to its answer", wakes);
    report(`the same for ${together} tenants at once, each`, eight);
    report(`  the most that were resumed at once, of ${availableParallelism()} that the host takes`, [most], "tenants");
  } finally {
    for (const tenant of names) {
      await clients.tenants.evictTenant({ requestId: randomUUID(), name: tenant }).catch(() => undefined);
    }
  }
}

/** The most tenants that were being resumed at one look, from now until `work` has ended; those that wait for a place are asleep. */
async function mostResuming({ tenants }: StackClients, work: Promise<unknown>): Promise<number> {
  let [most, isOver] = [0, false];
  void work.finally(() => (isOver = true)).catch(() => undefined);
  for (; !isOver; await delay(lookMs)) {
    const listed = await tenants.listTenants({});
    most = Math.max(most, listed.tenants.filter(({ state }) => state === TenantState.RESUMING).length);
  }
  return most;
}
