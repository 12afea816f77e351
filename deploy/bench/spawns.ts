import { randomUUID } from "node:crypto";
import type { StackClients } from "../client/clients.ts";
import type { StackEnv } from "../client/stack-env.ts";
import type { Stack } from "../dev/stack.ts";
import { renderTraceTree } from "../dev/trace-tree.ts";
import { measureBareBoot } from "./bare-boot.ts";
import { type EvictTimes, measureEvict } from "./evict.ts";
import { type Goal, report } from "./report.ts";
import { measureSpawn, type SpawnTimes } from "./spawn.ts";
import { median } from "./statistics.ts";
import { setTemplates } from "./templates.ts";

export interface SpawnOptions {
  readonly rounds: number;
  /** Prints the trace of the spawn with the median own share. */
  readonly showTrace: boolean;
  readonly progress: (line: string) => void;
}

/**
 * Spawns and evictions of real guests. In each round, one after the other: a bare boot; a cold spawn, of a launcher that keeps no templates; the
 * first spawn of one that does, which is saved on its way; and the next one, which begins with what was saved. All are of one size. A launcher's first spawn
 * checks the image, so none of these is compared.
 */
export async function measureSpawns(
  stack: Stack,
  env: StackEnv,
  clients: StackClients,
  { rounds, showTrace, progress }: SpawnOptions,
): Promise<readonly Goal[]> {
  const [bare, cold, saved, warm]: [number[], SpawnTimes[], SpawnTimes[], SpawnTimes[]] = [[], [], [], []];
  const evictions: EvictTimes[] = [];
  const spawnAndEvict = async (origin: string): Promise<SpawnTimes> => {
    const tenant = `bench-${randomUUID().slice(0, 8)}`;
    const times = await measureSpawn(env, clients, tenant);
    if (times.bootOrigin !== origin) throw new Error(`the guest began with ${times.bootOrigin}, not ${origin}`);
    evictions.push(await measureEvict(env, clients, tenant));
    return times;
  };
  for (let round = 0; round < rounds; round++) {
    bare.push(await measureBareBoot());
    await setTemplates(stack, "off");
    await spawnAndEvict("kernel"); // a launcher checks and copies the image once
    cold.push(await spawnAndEvict("kernel"));
    await setTemplates(stack, "on");
    saved.push(await spawnAndEvict("kernel"));
    warm.push(await spawnAndEvict("template"));
    progress(`round ${round + 1} of ${rounds}`);
  }
  reportSpawns({ bare, cold, saved, warm, evictions });
  const byShare = cold.toSorted((one, other) => one.controlPlaneMs - other.controlPlaneMs);
  const middle = byShare[Math.floor(byShare.length / 2)];
  if (showTrace && middle !== undefined) process.stdout.write(`\n${renderTraceTree(middle.trace)}\n`);
  return goals({ bare, cold, warm, evictions });
}

interface Samples {
  readonly bare: readonly number[];
  readonly cold: readonly SpawnTimes[];
  readonly saved: readonly SpawnTimes[];
  readonly warm: readonly SpawnTimes[];
  readonly evictions: readonly EvictTimes[];
}

function reportSpawns({ bare, cold, saved, warm, evictions }: Samples): void {
  const of = (times: readonly SpawnTimes[], name: "totalMs" | "guestCpuMs" | "vmmStartMs" | "controlPlaneMs") =>
    times.map((each) => each[name]);
  report("bare QEMU boot to first HTTP answer", bare);
  report("cold SpawnTenant to first HTTPS answer", of(cold, "totalMs"));
  report("  processor time of its VMM until then", of(cold, "guestCpuMs"));
  report("  of which QEMU's own start, which a bare boot has too", of(cold, "vmmStartMs"));
  report("  of which the control plane's own", of(cold, "controlPlaneMs"));
  report("launcher's first SpawnTenant, saved as a template on its way", of(saved, "totalMs"));
  report("  processor time of its VMM until then", of(saved, "guestCpuMs"));
  report("SpawnTenant from the warm template", of(warm, "totalMs"));
  report("  processor time of its VMM until then", of(warm, "guestCpuMs"));
  report("  of which the control plane's own", of(warm, "controlPlaneMs"));
  const refused = evictions.map(({ refusedMs }) => refusedMs);
  const returned = evictions.map(({ returnedMs }) => returnedMs);
  report("EvictTenant to HTTPS refused", refused);
  report("EvictTenant to its return", returned);
}

function goals({ bare, cold, warm, evictions }: Omit<Samples, "saved">): readonly Goal[] {
  const middleOf = <T>(samples: readonly T[], value: (sample: T) => number) => median(samples.map(value));
  const total = middleOf(cold, ({ totalMs }) => totalMs);
  const ratio = (value: (times: SpawnTimes) => number) => middleOf(warm, value) / middleOf(cold, value);
  const fromTemplate = "spawn from a warm template : cold spawn";
  return [
    { what: "spawn : bare boot", measured: total / median(bare), limit: 1.35, unit: "" },
    { what: fromTemplate, measured: ratio(({ totalMs }) => totalMs), limit: 0.5, unit: "" },
    { what: `${fromTemplate}, VMM's time`, measured: ratio(({ guestCpuMs }) => guestCpuMs), limit: 0.5, unit: "" },
    ...[
      {
        what: "control plane's own share",
        measured: middleOf(cold, ({ controlPlaneMs }) => controlPlaneMs),
        limit: 150,
      },
      { what: "evict: HTTPS refused", measured: middleOf(evictions, ({ refusedMs }) => refusedMs), limit: 100 },
      { what: "evict: call returns", measured: middleOf(evictions, ({ returnedMs }) => returnedMs), limit: 500 },
    ].map((goal) => ({ ...goal, unit: " ms" })),
  ];
}
