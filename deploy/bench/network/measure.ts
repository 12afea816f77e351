/**
 * The network of one tenant among 10, 100 and 1,000, ours and the predecessor's, each host in a namespace of its own. Rounds take turns
 * over all hosts, so that a busy machine slows all of them down.
 */
import { world as places } from "@lobsterd/net/testing/ground.ts";
import { plugGuest } from "@lobsterd/net/testing/guest.ts";
import { installPackages } from "../../dev/packages.ts";
import { compare, type Goal, report } from "../report.ts";
import { median } from "../statistics.ts";
import { measureControl, reportFresh } from "./control.ts";
import { controlSpares } from "./control-path.ts";
import { type CutTimes, measureCut } from "./cut.ts";
import { openPath, type Traffic } from "./data-path.ts";
import { makePredecessorWorld, type PredecessorWorld } from "./predecessor.ts";
import { connectionLimit, makeWorld, type World } from "./world.ts";

const tenantCounts = [10, 100, 1000] as const;
const cuts = 7;
const trafficRounds = 7;

export type Progress = (line: string) => void;

/** Prints the figures and returns what they should have been. `most`: leaves out hosts with more tenants, for a quick look. */
export async function measureNetwork(most: number, progress: Progress): Promise<readonly Goal[]> {
  await installPackages(["iptables", "perl-base"], progress);
  const worlds: World[] = [];
  const predecessors: PredecessorWorld[] = [];
  try {
    for (const tenants of [1, ...tenantCounts].filter((count) => count <= most)) {
      const start = performance.now();
      const world = await makeWorld(tenants, tenants === 1 ? 0 : controlSpares + cuts);
      worlds.push(world);
      // This process serves every world, so it is a fresh service only for the first one that attaches.
      if (worlds.length === 2) await reportFresh(world);
      predecessors.push(await makePredecessorWorld(tenants));
      progress(`${tenants} tenants in ${((performance.now() - start) / 1000).toFixed(0)} s`);
    }
    process.stdout.write(`network: ${connectionLimit} connections for each tenant in place of 1,024\n`);
    const control = await measureControl(worlds.slice(1), predecessors.slice(1), progress);
    const cut = await measureCuts(worlds.at(-1), progress);
    const data = await measureData(worlds, predecessors, progress);
    return [...control, ...cut, ...data];
  } finally {
    progress("removing the tenants");
    for (const predecessor of predecessors) await predecessor.close();
    for (const world of worlds) await world.close();
  }
}

async function measureCuts(world: World | undefined, progress: Progress): Promise<Goal[]> {
  if (world === undefined) return [];
  const times: CutTimes[] = [];
  for (const slot of world.spares.slice(controlSpares)) times.push(await measureCut(world, slot));
  progress(`${times.length} guests cut off`);
  const cut = times.map(({ cutMs }) => cutMs);
  report(`detach beside ${world.tenants}: traffic is cut`, cut, "ms", 2);
  report(
    "detach of a guest that sends: call returns",
    times.map(({ returnedMs }) => returnedMs),
    "ms",
    2,
  );
  return [{ what: "detach: traffic is cut", measured: median(cut), limit: 5, unit: " ms" }];
}

const figures = [
  { key: "roundTripMicros", what: "UDP round trip of 64 bytes", unit: "us", digits: 1 },
  { key: "packetsPerSecond", what: "UDP of 64 bytes, packets/s", unit: "/s", digits: 0 },
  { key: "megabitsPerSecond", what: "TCP in frames of 1,500 bytes", unit: "Mbit/s", digits: 0 },
] as const satisfies readonly { key: keyof Traffic; what: string; unit: string; digits: number }[];

/** Of the last tenant on the host with the fewest and on that with the most. */
async function measureData(
  worlds: readonly World[],
  predecessors: readonly PredecessorWorld[],
  progress: Progress,
): Promise<Goal[]> {
  const [only, last] = [worlds[0], worlds.at(-1)];
  const [onlyOfTheirs, lastOfTheirs] = [predecessors[0], predecessors.at(-1)];
  if (only === undefined || last === undefined || onlyOfTheirs === undefined || lastOfTheirs === undefined) return [];
  const paths = [
    { who: "only tenant", path: await openPath(await guestPath(only)), traffic: [] as Traffic[] },
    { who: `last of ${last.tenants}`, path: await openPath(await guestPath(last)), traffic: [] as Traffic[] },
    { who: "the predecessor's only", path: await openPath(onlyOfTheirs.path), traffic: [] as Traffic[] },
    {
      who: `the predecessor's last of ${lastOfTheirs.tenants}`,
      path: await openPath(lastOfTheirs.path),
      traffic: [] as Traffic[],
    },
  ];
  try {
    for (let round = 0; round < trafficRounds; round += 1) {
      for (const { path, traffic } of paths) traffic.push(await path.measure());
      progress(`traffic round ${round + 1} of ${trafficRounds}`);
    }
  } finally {
    for (const { path } of paths) await path.close();
  }
  for (const { key, what, unit, digits } of figures) {
    for (const { who, traffic } of paths)
      report(
        `${what}: ${who}`,
        traffic.map((one) => one[key]),
        unit,
        digits,
      );
  }
  const middle = (path: (typeof paths)[number] | undefined, key: keyof Traffic): number =>
    median((path?.traffic ?? []).map((one) => one[key]));
  return figures.map(({ key, what }) => {
    const speed = (path: (typeof paths)[number] | undefined): number =>
      key === "roundTripMicros" ? 1 / middle(path, key) : middle(path, key);
    const measured = speed(paths[1]) / speed(paths[0]);
    compare(`${what}: ours : the predecessor's`, speed(paths[3]), speed(paths[1]));
    return { what: `${what}: last : only`, measured, limit: 0.9, unit: "", atLeast: true };
  });
}

/** Puts a guest behind the last tenant's slot. */
async function guestPath({ ground, tenants }: World) {
  const slot = tenants - 1;
  const guest = await plugGuest(ground, slot);
  await guest.actor.close();
  return {
    guestPath: ground.path(`guest${slot}`),
    farPath: ground.path("internet"),
    farAddress: places.internet,
  };
}
