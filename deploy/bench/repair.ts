/** How long a tenant is away whose VMM is killed, or hangs: from that moment to the first HTTPS answer of the guest that was booted again. */
import { randomUUID } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { connectStack } from "../client/clients.ts";
import { askFront, hostOf } from "../client/front.ts";
import { readStackEnv } from "../client/stack-env.ts";
import { describeInstance } from "../dev/instance.ts";
import { withStack } from "../dev/stack.ts";
import { type Goal, report } from "./report.ts";
import { median } from "./statistics.ts";

const instance = "bench";
const harms = { killed: "SIGKILL", hangs: "SIGSTOP" } as const;
const longestMs = 180_000;

export async function measureRepair(rounds: number, progress: (line: string) => void): Promise<readonly Goal[]> {
  return await withStack({ instance, progress }, async () => {
    const times = { killed: [] as number[], hangs: [] as number[] };
    for (let round = 0; round < rounds; round++) {
      for (const how of ["killed", "hangs"] as const) times[how].push(await timeRepair(harms[how]));
      progress(`round ${round + 1} of ${rounds}`);
    }
    report("VMM killed to first HTTPS answer", times.killed);
    report("VMM stopped to first HTTPS answer", times.hangs);
    return [
      { what: "VMM killed: answers again", measured: median(times.killed), limit: 30_000, unit: " ms" },
      { what: "VMM hangs: answers again", measured: median(times.hangs), limit: 30_000, unit: " ms" },
    ];
  });
}

/** Of one tenant that is made for it. */
async function timeRepair(signal: NodeJS.Signals): Promise<number> {
  const env = readStackEnv(instance);
  const clients = connectStack(env);
  const name = `bench-${randomUUID().slice(0, 8)}`;
  const { tenant } = await clients.tenants.spawnTenant({ requestId: randomUUID(), name });
  if (tenant === undefined) throw new Error("the answer has no tenant");
  const generation = async () => (await clients.tenants.getTenant({ name })).tenant?.generation ?? 0;
  const isAnswered = () =>
    askFront(env, hostOf(env, name), { path: "/health", timeoutMs: 2000 }).then(
      ({ status }) => status === 200,
      () => false,
    );
  try {
    process.kill(vmmPid(describeInstance(instance).firstJailUid + tenant.slot), signal);
    const startMs = performance.now();
    while ((await generation()) === tenant.generation || !(await isAnswered())) {
      if (performance.now() - startMs > longestMs) throw new Error(`not repaired within ${longestMs} ms`);
      await delay(50);
    }
    return performance.now() - startMs;
  } finally {
    await clients.tenants.evictTenant({ requestId: randomUUID(), name });
  }
}

/** The process under the uid of a slot. */
function vmmPid(uid: number): number {
  const pid = readdirSync("/proc").find((entry) => {
    if (!/^\d+$/.test(entry)) return false;
    try {
      return readFileSync(`/proc/${entry}/status`, "utf8").includes(`\nUid:\t${uid}\t`);
    } catch {
      return false; // it ended meanwhile
    }
  });
  if (pid === undefined) throw new Error(`no process of uid ${uid}`);
  return Number(pid);
}
