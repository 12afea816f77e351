/**
 * Measures side by side in one run: a bare QEMU boot of the image to its first HTTP answer, and SpawnTenant to the first HTTPS
 * answer; how much of a spawn is the control plane's own; what a spawn from a warm template is beside one that boots; and how fast an
 * eviction cuts a tenant off. Rounds alternate, so that a busy machine slows both down. Before that, what a record of the audit log costs, `audit.ts`, and what a tenant's network and route cost
 * among others: `network/measure.ts`, `front/measure.ts`, and what sleep costs: `sleep/measure.ts`.
 *
 * The control plane's own share is all of a spawn but waiting for the guest's boot. QEMU's own start, from its exec until its vCPU
 * could run, is part of that boot: the bare one takes it too. Building the jail before it and reading it back after it are not.
 */
import { inspect, parseArgs } from "node:util";
import { connectStack } from "../client/clients.ts";
import { readStackEnv } from "../client/stack-env.ts";
import { type Stack, withStack } from "../dev/stack.ts";
import { measureAudit } from "./audit.ts";
import { measureFront } from "./front/measure.ts";
import { describeMachine } from "./machine.ts";
import { measureNetwork } from "./network/measure.ts";
import { measureRepair } from "./repair.ts";
import { judge } from "./report.ts";
import { measureSleep } from "./sleep/measure.ts";
import { measureWakes } from "./sleep/wake.ts";
import { measureSpawns } from "./spawns.ts";

const parts = ["audit", "network", "front", "sleep", "spawn", "wake", "repair"] as const;
const usage = `usage: main.ts [--only ${parts.join("|")}] [--rounds N] [--trace] [--tenants N]

  --only PART  spawn: spawns and evictions of real guests; network: what a network costs among many;
               front: what TLS to a guest adds, and a route among many; audit: appends to the audit log;
               sleep: sealing, suspends and resumes; wake: what a request to a suspended tenant waits;
               repair: a tenant whose VMM is killed or hangs (default: all)
  --rounds N   alternating rounds of spawn, sleep, wake and repair (default: 7; of spawn at most 5, of wake at most 10)
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
  const spawn = !isWanted("spawn") || (await onStack((stack) => measureSpawning(stack, rounds)));
  const wake = !isWanted("wake") || (await onStack(() => measureWaking(rounds)));
  const repair = !isWanted("repair") || judge(await measureRepair(rounds, progress));
  return audit && network && front && sleep && spawn && wake && repair ? 0 : 1;
}

async function measureSpawning(stack: Stack, rounds: number): Promise<boolean> {
  const env = readStackEnv("bench");
  // One takes a minute.
  const options = { rounds: Math.min(rounds, 5), showTrace: values.trace, progress };
  return judge(await measureSpawns(stack, env, connectStack(env), options));
}

async function measureWaking(rounds: number): Promise<boolean> {
  const env = readStackEnv("bench");
  // A tenant is woken twenty times an hour.
  await measureWakes(env, connectStack(env), Math.min(rounds, 10), progress);
  return true;
}

function onStack(run: (stack: Stack) => Promise<boolean>): Promise<boolean> {
  return withStack({ instance: "bench", progress }, async (stack) => {
    try {
      return await run(stack);
    } catch (error) {
      // Before the stack goes down: an error of that would take the place of this one.
      process.stderr.write(`${inspect(error)}\n`);
      return false;
    }
  });
}

process.exit(await main());
