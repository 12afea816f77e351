import { monitorEventLoopDelay } from "node:perf_hooks";
import { chassisMetrics } from "./chassis-metrics.ts";

/** Shows this process's memory and how long its event loop stood still. Called by the telemetry preload. */
export function showProcess(): void {
  chassisMetrics.memory.observe(() => process.memoryUsage.rss());
  const delay = monitorEventLoopDelay({ resolution: 20 });
  delay.enable();
  chassisMetrics.eventLoopDelay.observe(() => {
    const seconds = delay.max / 1e9;
    delay.reset();
    return seconds;
  });
}
