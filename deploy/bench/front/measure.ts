/** What Caddy's TLS to a guest adds to a request, and what a route costs among others. Rounds take turns over all variants. */
import { findCaddy } from "@lobsterd/proxy/testing/programs.ts";
import { type Goal, report } from "../report.ts";
import { median } from "../statistics.ts";
import { type LatencyScene, openLatencyScene, type Route, routes } from "./latency.ts";
import { openPublishScene, type PublishScene, type PublishTimes } from "./publish.ts";

const tenantCounts = [10, 10_000] as const;
const latencyRounds = 7;
const warmUpRounds = 5;
const publishRounds = 51;

type Progress = (line: string) => void;

/** Prints the figures and returns what they should have been. */
export async function measureFront(progress: Progress): Promise<readonly Goal[]> {
  const caddy = await findCaddy();
  if ("reason" in caddy) throw new Error(caddy.reason);
  const latency = await openLatencyScene(caddy.path);
  try {
    await measureLatency(latency, progress);
  } finally {
    await latency.close();
  }
  const scenes: PublishScene[] = [];
  try {
    for (const tenants of tenantCounts) scenes.push(await openPublishScene(caddy.path, tenants));
    return await measurePublish(scenes, progress);
  } finally {
    for (const scene of scenes) await scene.close();
  }
}

async function measureLatency(scene: LatencyScene, progress: Progress): Promise<void> {
  const times = new Map<Route, number[]>(routes.map((route) => [route, []]));
  for (let round = 0; round < latencyRounds; round += 1) {
    for (const [route, samples] of times) samples.push(await scene.measure(route));
    progress(`front latency round ${round + 1} of ${latencyRounds}`);
  }
  for (const [route, samples] of times) report(`request through Caddy to a guest: ${route}`, samples, "ms", 2);
  for (const how of ["pooled", "dialled anew"] as const) {
    const [tls = [], plain = []] = [times.get(`TLS, ${how}`), times.get(`plain, ${how}`)];
    // Of the same round each, so that a busy machine slows both down.
    const added = tls.map((ms, round) => ms - (plain[round] ?? Number.NaN));
    report(`added by TLS to the guest, ${how}`, added, "ms", 2);
  }
}

async function measurePublish(scenes: readonly PublishScene[], progress: Progress): Promise<readonly Goal[]> {
  const figures = scenes.map((scene) => ({ scene, times: [] as PublishTimes[] }));
  for (let round = -warmUpRounds; round < publishRounds; round += 1) {
    for (const { scene, times } of figures) {
      const time = await scene.measure();
      if (round >= 0) times.push(time);
    }
    if (round % 10 === 0) progress(`route round ${round} of ${publishRounds}`);
  }
  const middle = (times: readonly PublishTimes[]): number => median(times.map(({ publishMs }) => publishMs));
  for (const { scene, times } of figures) {
    const beside = `beside ${scene.tenants} tenants`;
    const column = (key: keyof PublishTimes): number[] => times.map((time) => time[key]);
    report(`PublishRoute ${beside}`, column("publishMs"), "ms", 2);
    report(`PublishRoute asleep ${beside}`, column("sleepMs"), "ms", 2);
    report(`PublishRoute to the guest's answer through Caddy ${beside}`, column("answerMs"), "ms", 2);
    report(`WithdrawRoute ${beside}`, column("withdrawMs"), "ms", 2);
  }
  const [fewest, most] = [figures.at(0), figures.at(-1)];
  if (fewest === undefined || most === undefined) return [];
  return [
    {
      what: `PublishRoute beside ${most.scene.tenants} : beside ${fewest.scene.tenants}`,
      measured: middle(most.times) / middle(fewest.times),
      limit: 1.3,
      unit: "",
    },
  ];
}
