/**
 * Measures side by side in one run: a bare QEMU boot of the image to its first HTTP answer, and SpawnTenant to the first HTTPS
 * answer; how much of a spawn is the control plane's own; what a spawn from a warm template is beside one that boots; and how fast an
 * eviction cuts a tenant off. Rounds alternate, so that a busy machine slows both down. Before that, what a record of the audit log costs, `audit.ts`, and what a tenant's network and route cost
 * among others: `network/measure.ts`, `front/measure.ts`, and what sleep costs: `sleep/measure.ts`.
 *
 * The control plane's own share is all of a spawn but waiting for the guest's boot. QEMU's own start, from its exec until its vCPU
 * could run, is part of that boot: the bare one takes it too. Building the jail before it and reading it back after it are not.
 */
import { randomUUID } from "node:crypto";
import { inspect, parseArgs } from "node:util";
import { connectStack } from "../client/clients.ts";
import { readStackEnv } from "../client/stack-env.ts";
import { withStack } from "../dev/stack.ts";
import { renderTraceTree } from "../dev/trace-tree.ts";
import { measureAudit } from "./audit.ts";
import { measureBareBoot } from "./bare-boot.ts";
import { measureEvict } from "./evict.ts";
import { measureFront } from "./front/measure.ts";
import { describeMachine } from "./machine.ts";
import { measureNetwork } from "./network/measure.ts";
import { measureRepair } from "./repair.ts";
import { type Goal, judge, report } from "./report.ts";
import { measureSleep } from "./sleep/measure.ts";
import { measureWakes } from "./sleep/wake.ts";
import { measureSpawn, type SpawnTimes } from "./spawn.ts";
import { median } from "./statistics.ts";

const parts = ["audit", "network", "front", "sleep", "spawn", "wake", "repair"] as const;
const usage = `usage: main.ts [--only ${parts.join("|")}] [--rounds N] [--trace] [--tenants N]

  --only PART  spawn: spawns and evictions of real guests; network: what a network costs among many;
               front: what TLS to a guest adds, and a route among many; audit: appends to the audit log;
               sleep: sealing, suspends and resumes; wake: what a request to a suspended tenant waits;
               repair: a tenant whose VMM is killed or hangs (default: all)
  --rounds N   alternating rounds of spawn, sleep, wake and repair (default: 7; of wake at most 10)
  --trace      print the trace of the spawn with the median own share
  --tenants N  most tenants of network (default: 1000)
`;

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    rounds: { type: "string", default: "7" },
    tenants: { type: "string", default: "1000" },
    trace: { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
  },
});

const progress = (line: string): void => void process.stderr.write(`${line}\n`);

async function main(): Promise<number> {
  if (values.help) {
    process.stdout.write(usage);
    return 0;
  }
  const [rounds, tenants] = [Number(values.rounds), Number(values.tenants)];
  const isWanted = (part: (typeof parts)[number]): boolean => values.only === undefined || values.only === part;
  const isUsable = Number.isInteger(rounds) && rounds >= 1 && Number.isInteger(tenants) && tenants >= 10;
  if (!parts.some(isWanted) || !isUsable) {
    process.stderr.write(usage);
    return 2;
  }
  process.stdout.write(`${describeMachine()}\n`);
  const audit = !isWanted("audit") || judge(await measureAudit(progress));
  const network = !isWanted("network") || judge(await measureNetwork(tenants, progress));
  const front = !isWanted("front") || judge(await measureFront(progress));
  const sleep = !isWanted("sleep") || judge(await measureSleep(rounds, progress));
  const spawn = !isWanted("spawn") || (await onStack(() => measure(rounds)));
  const wake = !isWanted("wake") || (await onStack(() => measureWaking(rounds)));
  const repair = !isWanted("repair") || judge(await measureRepair(rounds, progress));
  return audit && network && front && sleep && spawn && wake && repair ? 0 : 1;
}

async function measureWaking(rounds: number): Promise<boolean> {
  const env = readStackEnv("bench");
  // A tenant is woken twenty times an hour.
  await measureWakes(env, connectStack(env), Math.min(rounds, 10), progress);
  return true;
}

function onStack(run: () => Promise<boolean>): Promise<boolean> {
  return withStack({ instance: "bench", progress }, async () => {
    try {
      return await run();
    } catch (error) {
      // Before the stack goes down: an error of that would take the place of this one.
      process.stderr.write(`${inspect(error)}\n`);
      return false;
    }
  });
}

/** Each round has a size of its own: its first guest boots, is saved on the way, and the second one begins with that. */
const firstDiskMib = 1_024;

function requireOrigin(origin: string, times: SpawnTimes): SpawnTimes {
  if (times.bootOrigin !== origin) throw new Error(`the guest began with ${times.bootOrigin}, not ${origin}`);
  return times;
}

async function measure(rounds: number): Promise<boolean> {
  const env = readStackEnv("bench");
  const clients = connectStack(env);
  const bare: number[] = [];
  const spawns: SpawnTimes[] = [];
  const warm: SpawnTimes[] = [];
  const evictions: { refusedMs: number; returnedMs: number }[] = [];
  for (let round = 0; round < rounds; round++) {
    bare.push(await measureBareBoot());
    const tenant = `bench-${randomUUID().slice(0, 8)}`;
    const diskMib = firstDiskMib + round;
    spawns.push(requireOrigin("kernel", await measureSpawn(env, clients, tenant, diskMib)));
    evictions.push(await measureEvict(env, clients, tenant));
    warm.push(requireOrigin("template", await measureSpawn(env, clients, `${tenant}-warm`, diskMib)));
    await measureEvict(env, clients, `${tenant}-warm`);
    progress(`round ${round + 1} of ${rounds}`);
  }
  const total = spawns.map(({ totalMs }) => totalMs);
  const own = spawns.map(({ controlPlaneMs }) => controlPlaneMs);
  report("bare QEMU boot to first HTTP answer", bare);
  report("SpawnTenant to first HTTPS answer", total);
  report(
    "of which QEMU's own start, which a bare boot has too",
    spawns.map(({ vmmStartMs }) => vmmStartMs),
  );
  report("of which the control plane's own", own);
  const warmTotal = warm.map(({ totalMs }) => totalMs);
  report("the next SpawnTenant of its size, from a warm template", warmTotal);
  report(
    "EvictTenant to HTTPS refused",
    evictions.map(({ refusedMs }) => refusedMs),
  );
  report(
    "EvictTenant to its return",
    evictions.map(({ returnedMs }) => returnedMs),
  );
  const byShare = spawns.toSorted((one, other) => one.controlPlaneMs - other.controlPlaneMs);
  const middle = byShare[Math.floor(byShare.length / 2)];
  if (values.trace && middle !== undefined) process.stdout.write(`\n${renderTraceTree(middle.trace)}\n`);
  const goals: readonly Goal[] = [
    { what: "spawn : bare boot", measured: median(total) / median(bare), limit: 1.35, unit: "" },
    {
      what: "spawn from a warm template : cold spawn",
      measured: median(warmTotal) / median(total),
      limit: 0.5,
      unit: "",
    },
    { what: "control plane's own share", measured: median(own), limit: 150, unit: " ms" },
    {
      what: "evict: HTTPS refused",
      measured: median(evictions.map(({ refusedMs }) => refusedMs)),
      limit: 100,
      unit: " ms",
    },
    {
      what: "evict: call returns",
      measured: median(evictions.map(({ returnedMs }) => returnedMs)),
      limit: 500,
      unit: " ms",
    },
  ];
  return judge(goals);
}

process.exit(await main());
