/** How long a guest may be silent before it is given up. */
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";

/** On a host that has a core for whoever wants one. */
const quietMs = 5_000;
/** However busy the host is: a tenant whose guest hangs is away for as long. */
const longestMs = 15_000;

/** Whole milliseconds: as much longer as there are others for the core that the guest would answer on. */
export function patienceMs(wanting = threadsThatWantACore(), cores = availableParallelism()): number {
  return Math.round(Math.min(longestMs, quietMs * Math.max(1, wanting / cores)));
}

/** Now or in the last minute: a rush that has just begun is not in the average, and one with a gap in it is not in the count. */
function threadsThatWantACore(): number {
  const [average, , , tasks] = readFileSync("/proc/loadavg", "latin1").split(" ");
  return Math.max(Number(average), Number.parseInt(tasks ?? "0", 10));
}
