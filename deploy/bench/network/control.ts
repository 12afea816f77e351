import { describeMachine } from "../machine.ts";
import { compare, type Goal, report } from "../report.ts";
import { median } from "../statistics.ts";
import { type ControlTimes, measureControlPath, measureFresh, noTimes } from "./control-path.ts";
import type { PredecessorWorld } from "./predecessor.ts";
import type { World } from "./world.ts";

const freshCalls = 45;
/** Calls that two processes make and serve before they count as warm: Node compiles for good what ran some hundreds of times. */
const warmUpReads = 2000;
const warmUpRounds = 3;
const rounds = 51;
/** The predecessor's rounds take seconds; it is measured in every so many of ours. */
const predecessorEvery = 6;

const goalMs = 3;
const goalRatio = 1.3;

interface Figures {
  readonly world: World;
  readonly times: ControlTimes;
  readonly spawned: number[];
  readonly evicted: number[];
}

/** Prints what a caller sees of a service that has only just begun, as it has itself. */
export async function reportFresh(world: World): Promise<void> {
  const times = await measureFresh(world, freshCalls);
  report(`AttachNetwork, the first ${freshCalls} between two fresh processes, beside ${world.tenants}`, times, "ms", 2);
}

/** Prints what attaching and detaching cost beside the tenants of each world. Rounds take turns over the worlds. */
export async function measureControl(
  worlds: readonly World[],
  predecessors: readonly PredecessorWorld[],
  progress: (line: string) => void,
): Promise<Goal[]> {
  const figures: Figures[] = worlds.map((world) => ({ world, times: noTimes(), spawned: [], evicted: [] }));
  for (const world of worlds) await world.readByRpc(warmUpReads);
  for (let round = -warmUpRounds; round < rounds; round += 1) {
    for (const [index, { world, times, spawned, evicted }] of figures.entries()) {
      await measureControlPath(world, round < 0 ? noTimes() : times);
      const predecessor = predecessors[index];
      if (predecessor === undefined || round < 0 || round % predecessorEvery !== 0) continue;
      spawned.push(await predecessor.spawn());
      evicted.push(await predecessor.evict());
    }
    if (round % 10 === 0) progress(`network round ${round} of ${rounds}`);
  }
  process.stdout.write(`${describeMachine()}\n`);
  for (const each of figures) reportWorld(each);
  return goalsOf(figures);
}

function reportWorld({ world, times, spawned, evicted }: Figures): void {
  const beside = `beside ${world.tenants} tenants`;
  report(`attach ${beside}`, times.attach, "ms", 2);
  report(`AttachNetwork after ${warmUpReads} calls, both awake, ${beside}`, times.attachAwake, "ms", 2);
  report(`of which any call is, as one that reads a network, ${beside}`, times.readAwake, "ms", 2);
  report(`AttachNetwork after ${warmUpReads} calls, both have slept, ${beside}`, times.attachAsleep, "ms", 2);
  compare("have slept : awake", median(times.attachAwake), median(times.attachAsleep));
  report(`the predecessor's spawn ${beside}`, spawned, "ms", 1);
  compare("the predecessor's spawn : attach", median(times.attach), median(spawned));
  report(`detach ${beside}`, times.detach, "ms", 2);
  report(`the predecessor's evict ${beside}`, evicted, "ms", 1);
  compare("the predecessor's evict : detach", median(times.detach), median(evicted));
}

function goalsOf(figures: readonly Figures[]): Goal[] {
  const goals: Goal[] = [];
  for (const [what, key] of [
    ["attach", "attach"],
    ["AttachNetwork, awake", "attachAwake"],
  ] as const) {
    const medians = figures.map(({ world, times }) => ({ tenants: world.tenants, ms: median(times[key]) }));
    for (const { tenants, ms } of medians)
      goals.push({ what: `${what}, beside ${tenants}`, measured: ms, limit: goalMs, unit: " ms" });
    const [fewest, most] = [medians.at(0), medians.at(-1)];
    if (fewest === undefined || most === undefined) continue;
    const ratio = `${what}, beside ${most.tenants} : beside ${fewest.tenants}`;
    goals.push({ what: ratio, measured: most.ms / fewest.ms, limit: goalRatio, unit: "" });
  }
  return goals;
}
