import { readdirSync, readFileSync } from "node:fs";
import { signalGroup } from "./process-group.ts";

/** A process may change its group while it is looked for; one that does so without end is left to the hang-up. */
const maximumRounds = 10;

/** Kills every process of a session, a group at a time: to a group the kernel does it at once, whatever is forking in it. */
export function killSession(session: number): void {
  for (let round = 0; round < maximumRounds; round += 1) {
    const groups = groupsOf(session);
    if (groups.size === 0) return;
    for (const group of groups) signalGroup(group, "SIGKILL");
  }
}

/** The process groups of a session in which anything still runs. */
function groupsOf(session: number): ReadonlySet<number> {
  const groups = new Set<number>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    // Fields of proc_pid_stat(5) after the program's name, which may hold anything: state, parent, group, session.
    const [state, , group, of] = statOf(name).split(") ").at(-1)?.split(" ") ?? [];
    if (Number(of) === session && state !== "Z" && state !== "X") groups.add(Number(group));
  }
  return groups;
}

function statOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return ""; // it has ended
  }
}
