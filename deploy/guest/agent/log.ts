import { LogRing } from "./log-ring.ts";

/** Facts beside a message. Never a secret: nothing here redacts. */
export type Facts = Readonly<Record<string, string | number | boolean>>;

/** The last lines of the agent itself, which StreamLogs shows. */
export const agentLog = new LogRing();

function format(message: string, facts: Facts): string {
  return JSON.stringify({ time: new Date().toISOString(), message, ...facts });
}

/** One JSON line on standard error, which is the console where the VMM gives the guest one and nowhere otherwise. */
export function log(message: string, facts: Facts = {}): void {
  const line = format(message, facts);
  agentLog.append(line);
  process.stderr.write(`${line}\n`);
}

/** The same for what a workload wrote: it goes to the console, and must not push the agent's own lines out of its log. */
export function logOutput(stream: string, line: string): void {
  process.stderr.write(`${format("workload output", { stream, line })}\n`);
}
