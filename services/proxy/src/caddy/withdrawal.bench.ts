/**
 * What the two cheap ways cost to make a withdrawn name refused at once: looking up a file for each request, or not
 * keeping connections to guests. Prints a table; needs root and Caddy: `node services/proxy/src/caddy/withdrawal.bench.ts`.
 * Client, Caddy and guest share the machine's cores: compare the rows, not the numbers with another machine's.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { Agent } from "node:https";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { fileURLToPath } from "node:url";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { ask } from "../testing/https-client.ts";
import { findCaddy } from "../testing/programs.ts";
import { defaultLimits, openScene, patience, sceneSettings, startCaddy, startGuests } from "../testing/scene.ts";
import { domain } from "../testing/scene-paths.ts";
import { caddyConfig } from "./caddy-config.ts";
import type { Json } from "./canonical-json.ts";
import { createKeeper } from "./keeper.ts";

const rounds = 5;
const requestsPerRound = 3000;
const clients = 16;
const ticksPerSecond = 100;
const nameFileMatch = /"match":\[\{"file":.*?\]\}\}\],/;

const caddy = await findCaddy();
if (!("path" in caddy)) throw new Error(caddy.reason);
await using scope = new AsyncDisposableStack();
const scene = await openScene(caddy.path, ["10.201.0.1"]);
scope.defer(() => scene.close());
await startGuests(scene, [{ name: "demo", address: "10.201.0.1" }]);
const fixture = fileURLToPath(new URL("../testing/resolver.fixture.ts", import.meta.url));
const resolver = scene.start([process.execPath, fixture, "5053", "demo=10.201.0.1"]);
await waitFor("resolver", async () => resolver.output().includes("listening") || undefined, patience);
const started = await startCaddy(scene);
const pid = started.process.pid ?? 0;
writeFileSync(join(scene.paths.namesDirectory, "demo"), "");

const chosen = caddyConfig(sceneSettings(scene.paths, defaultLimits));
const variants: Record<string, Json> = {
  "pooled, no name file": edit(chosen, (text) => text.replace(nameFileMatch, "")),
  "pooled, name file (in use)": chosen,
  "not pooled, no name file": edit(chosen, (text) =>
    text.replace(nameFileMatch, "").replace('"keep_alive":{"enabled":true', '"keep_alive":{"enabled":false'),
  ),
};
const results = new Map(Object.keys(variants).map((name) => [name, [] as Sample[]]));
for (let round = 0; round < rounds; round += 1) {
  for (const [name, config] of Object.entries(variants)) {
    await createKeeper(() => config, scene.paths.adminSocket).check();
    results.get(name)?.push(await measure());
  }
}
for (const [name, samples] of results) {
  const median = (pick: (sample: Sample) => number): number =>
    samples.map(pick).sort((a, b) => a - b)[Math.floor(samples.length / 2)] ?? Number.NaN;
  const figures = {
    "requests/s": median((sample) => sample.perSecond).toFixed(0),
    "p50 ms": median((sample) => sample.p50Ms).toFixed(2),
    "p99 ms": median((sample) => sample.p99Ms).toFixed(2),
    "caddy CPU us/request": median((sample) => sample.cpuMicroseconds).toFixed(0),
  };
  process.stdout.write(`${name.padEnd(28)} ${JSON.stringify(figures)}\n`);
}

type Sample = { perSecond: number; p50Ms: number; p99Ms: number; cpuMicroseconds: number };

async function measure(): Promise<Sample> {
  const front = { socketPath: scene.paths.httpsSocket, caPem: scene.authorities.platform.certificatePem };
  const agent = new Agent({ keepAlive: true, maxSockets: clients });
  const latencies: number[] = [];
  let left = requestsPerRound;
  const cpuBefore = cpuSeconds();
  const begin = performance.now();
  const client = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      const sent = performance.now();
      const answer = await ask(front, `demo.${domain}`, { agent });
      if (answer.status !== 200) throw new Error(`status ${answer.status}`);
      latencies.push(performance.now() - sent);
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
  const seconds = (performance.now() - begin) / 1000;
  agent.destroy();
  latencies.sort((a, b) => a - b);
  return {
    perSecond: requestsPerRound / seconds,
    p50Ms: latencies[Math.floor(latencies.length * 0.5)] ?? Number.NaN,
    p99Ms: latencies[Math.floor(latencies.length * 0.99)] ?? Number.NaN,
    cpuMicroseconds: ((cpuSeconds() - cpuBefore) / requestsPerRound) * 1e6,
  };
}

/** User and system time of Caddy so far; proc_pid_stat(5), fields 14 and 15. */
function cpuSeconds(): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
}

function edit(config: Json, change: (text: string) => string): Json {
  const before = JSON.stringify(config);
  const after = change(before);
  if (after === before) throw new Error("the edit changed nothing");
  return JSON.parse(after) as Json;
}
