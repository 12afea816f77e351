import { readdirSync } from "node:fs";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import type { VmCgroups } from "./cgroup.ts";
import { isKernelThread, readOrGone } from "./processes.ts";
import { LauncherError } from "./protocol.ts";

const placeWithinMs = 2_000;

type PitCgroups = Pick<VmCgroups, "place" | "holds" | "members">;

/** The VMM whose timer thread is looked for. */
export interface PitOwner {
  readonly vmId: string;
  /** Number of the VMM in /proc, and in its own pid namespace. */
  readonly pid: number;
  readonly pidInNamespace: number;
}

/**
 * Moves the kernel thread that runs the VM's interval timer into the VM's cgroup and reads the move back. The guest decides how much that
 * thread works, and the kernel starts it outside of every limit (KVM_CREATE_PIT2, so at InstanceStart and again at each snapshot load).
 *
 * Its whole name is "kvm-pit/" and the number of the VMM in the VMM's *own* pid namespace (pid_vnr in i8254.c; measured): in a jail always 1.
 * So the name alone does not tell whose it is. It is the one thread of that name that nobody has placed and that is no older than the VMM;
 * the launcher lets one VM boot at a time, see boot-turn.ts. Two of them are not guessed between.
 * Retries for 2 s, then throws KVM_PIT_UNPLACED: the caller kills the VM.
 */
export async function placePit(
  cgroups: PitCgroups,
  owner: PitOwner,
  { proc = "/proc", withinMs = placeWithinMs } = {},
): Promise<void> {
  let last = "there is no such thread";
  const attempt = async (): Promise<true | undefined> => {
    const threads = unplacedPits(proc, owner);
    const [thread] = threads;
    if (thread === undefined) return placedPits(cgroups, owner.vmId, proc).length > 0 ? true : undefined;
    if (threads.length > 1) {
      last = `threads ${threads.join(", ")} could all be its own`;
      return undefined;
    }
    try {
      cgroups.place(owner.vmId, thread);
    } catch (error) {
      last = `thread ${thread}: ${(error as Error).message}`;
      return undefined;
    }
    if (readOrGone(`${proc}/${thread}/cgroup`, (text) => cgroups.holds(owner.vmId, text)) === true) return true;
    last = `thread ${thread} is not where it was put`;
    return undefined;
  };
  await waitFor("the timer thread", attempt, { timeoutMs: withinMs, intervalMs: 5 }).catch((error: Error) => {
    throw new LauncherError("KVM_PIT_UNPLACED", `${error.message}: ${last}`.slice(0, 2048));
  });
}

/** Timer threads in the VM's cgroup. */
export function placedPits(cgroups: PitCgroups, vmId: string, proc = "/proc"): number[] {
  const members = new Set([...cgroups.members(vmId).values()].flat());
  return [...members].filter((id) => isKernelThread(proc, id) && comm(proc, id)?.startsWith("kvm-pit/") === true);
}

/** Threads of exactly the owner's name that are still where the kernel starts its threads, and not older than the owner. */
function unplacedPits(proc: string, owner: PitOwner): number[] {
  const startOf = (id: number) => readOrGone(`${proc}/${id}/stat`, startTicks);
  const placeOf = (id: number) => readOrGone(`${proc}/${id}/cgroup`, (text) => text);
  const born = startOf(owner.pid);
  if (born === undefined) return [];
  return readdirSync(proc)
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((id) => comm(proc, id) === `kvm-pit/${owner.pidInNamespace}`)
    .filter((id) => isKernelThread(proc, id) && placeOf(id) === placeOf(2) && (startOf(id) ?? -1) >= born);
}

function comm(proc: string, id: number): string | undefined {
  return readOrGone(`${proc}/${id}/comm`, (text) => text.replace(/\n$/, ""));
}

/** When a process began, in clock ticks since the host's start: field 22 of stat; the second one, its name, may hold anything. */
function startTicks(stat: string): number {
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]);
}
