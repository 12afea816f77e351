/**
 * What sleep costs, side by side: the sealed format beside the cipher that it is made of, SuspendTenant beside QEMU's own save and that cipher, and a
 * resume to its first HTTPS answer beside QEMU's own restore to the guest's first HTTP answer. Rounds alternate. Where the time goes is said beside it: by step, and
 * by a bare restore after which the guest is asked what a wake asks it.
 */
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { connectStack, type StackClients } from "../../client/clients.ts";
import { askFront, hostOf } from "../../client/front.ts";
import { readStackEnv, type StackEnv } from "../../client/stack-env.ts";
import { withStack } from "../../dev/stack.ts";
import { type Goal, report } from "../report.ts";
import { median } from "../statistics.ts";
import { measureBareSleep } from "./bare-sleep.ts";
import { measureSealing } from "./sealing.ts";
import { reportSteps } from "./steps.ts";

/** The least that the image boots with; a guest of 128 MiB is refused. */
const memoryMib = 192;
const sealedMib = 256;
const sealingRounds = 5;
const megabyte = 1e6;

export async function measureSleep(rounds: number, progress: (line: string) => void): Promise<readonly Goal[]> {
  const directory = mkdtempSync("/dev/shm/lobsterd-bench-sleep-");
  try {
    const rates = [];
    for (let round = 0; round < sealingRounds; round++) rates.push(await measureSealing(sealedMib, directory));
    const cipher = rates.map((rate) => rate.cipher);
    const sealed = rates.map((rate) => rate.sealed);
    report("AES-256-GCM, 64 KiB at a time, one thread", inMegabytes(cipher), "MB/s");
    report("a sealed set of the same bytes", inMegabytes(sealed), "MB/s");
    const bare: Awaited<ReturnType<typeof measureBareSleep>>[] = [];
    const ours: Awaited<ReturnType<typeof measureOneSleep>>[] = [];
    await withStack({ instance: "bench", progress }, async () => {
      const env = readStackEnv("bench");
      const clients = connectStack(env);
      const tenant = `bench-${randomUUID().slice(0, 8)}`;
      const resources = { vcpuCount: 1, memoryMib, diskMib: 64 };
      await clients.tenants.spawnTenant({ requestId: randomUUID(), name: tenant, resources });
      for (let round = 0; round < rounds; round++) {
        bare.push(await measureBareSleep(memoryMib, directory));
        ours.push(await measureOneSleep(env, clients, tenant));
        progress(`sleep: round ${round + 1} of ${rounds}`);
      }
      await reportSteps(env, clients, tenant);
      await clients.tenants.evictTenant({ requestId: randomUUID(), name: tenant });
    });
    const saves = bare.map(({ saveMs, stateBytes }) => saveMs + (stateBytes / median(cipher)) * 1000);
    const restores = bare.map(({ restoreMs }) => restoreMs);
    const wakes = bare.map(({ wakeMs }) => wakeMs);
    const suspends = ours.map(({ suspendMs }) => suspendMs);
    const resumes = ours.map(({ resumeMs }) => resumeMs);
    report(`bare QEMU save of ${memoryMib} MiB, and AES-256-GCM over it`, saves);
    report("SuspendTenant", suspends);
    report("bare QEMU restore to first HTTP answer", restores);
    report("bare QEMU restore and a wake's calls to the guest", wakes);
    report("ResumeTenant to first HTTPS answer", resumes);
    report("ResumeTenant : bare restore and a wake's calls", [median(resumes) / median(wakes)], ": 1", 2);
    return [
      {
        what: "sealed set : AES-256-GCM",
        measured: median(sealed) / median(cipher),
        limit: 0.7,
        unit: "",
        atLeast: true,
      },
      { what: "suspend : bare save and cipher", measured: median(suspends) / median(saves), limit: 1.5, unit: "" },
      { what: "resume : bare restore", measured: median(resumes) / median(restores), limit: 1.35, unit: "" },
    ];
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function measureOneSleep(
  env: StackEnv,
  { tenants }: StackClients,
  name: string,
): Promise<{ readonly suspendMs: number; readonly resumeMs: number }> {
  const start = performance.now();
  await tenants.suspendTenant({ requestId: randomUUID(), name });
  const asleep = performance.now();
  await tenants.resumeTenant({ requestId: randomUUID(), name });
  const { status } = await askFront(env, hostOf(env, name), { path: "/health" });
  if (status !== 200) throw new Error(`the tenant answered ${status}`);
  return { suspendMs: asleep - start, resumeMs: performance.now() - asleep };
}

const inMegabytes = (rates: readonly number[]) => rates.map((rate) => rate / megabyte);
