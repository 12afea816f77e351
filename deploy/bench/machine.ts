import { availableParallelism, cpus, loadavg, release, totalmem } from "node:os";

/** One line about the machine that the figures are of. */
export function describeMachine(): string {
  const model = cpus()[0]?.model ?? "unknown CPU";
  const memoryGib = (totalmem() / 1024 ** 3).toFixed(0);
  const load = loadavg()[0]?.toFixed(1);
  return `machine: ${model}, ${availableParallelism()} cores, ${memoryGib} GiB, Linux ${release()}, Node ${process.version}, load ${load}`;
}
