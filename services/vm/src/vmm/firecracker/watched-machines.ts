import type { VmId } from "../port.ts";
import type { ApiDeadlines } from "./api-client.ts";
import type { FirecrackerHost } from "./host.ts";
import { type Machine, type MachineOutputs, openMachine } from "./machine.ts";
import { Watchdog, type WatchdogOptions } from "./watchdog.ts";

export interface WatchedMachinesOptions {
  readonly deadlines: ApiDeadlines;
  /** A VMM did not answer three times in a row and was killed, or could not be (an AggregateError); `error` is the last failure. */
  readonly onUnresponsive: (vmId: VmId, error: unknown) => void;
  /** A VMM is gone, by itself or after it did not answer; `outputs` is what it wrote. */
  readonly onEnded: (vmId: VmId, outputs: MachineOutputs) => void;
  /** Runs `work` when nothing else is done with the VM. */
  readonly inTurn: <T>(vmId: VmId, work: () => Promise<T>) => Promise<T>;
  readonly watchdog?: Pick<WatchdogOptions, "intervalMs" | "schedule" | "now">;
}

/** The machines that this process knows to run, or to have run, each with a watchdog. */
export interface WatchedMachines {
  find(vmId: VmId): Machine | undefined;
  /** A machine that nobody watches yet. */
  open(vmId: VmId): Machine;
  watch(vmId: VmId, machine: Machine): void;
  /** Ends the connections to a machine and loses what it wrote. */
  forget(vmId: VmId): void;
  forgetAll(): void;
  /** Watches the VMs that run, and forgets those of which the host knows nothing any more. */
  matchHost(): Promise<void>;
}

interface Watched {
  readonly machine: Machine;
  readonly watchdog: Watchdog;
}

export function openWatchedMachines(host: FirecrackerHost, options: WatchedMachinesOptions): WatchedMachines {
  const { deadlines, onUnresponsive, onEnded, inTurn } = options;
  const watched = new Map<VmId, Watched>();

  const kill = async (vmId: VmId, one: Watched, error: unknown): Promise<void> => {
    if (watched.get(vmId) !== one) return; // removed or started anew meanwhile
    one.machine.close();
    try {
      await host.stop(vmId);
    } catch (cause) {
      watched.delete(vmId); // what still runs is taken up again, and watched again
      return onUnresponsive(vmId, new AggregateError([error, cause], "a VMM that does not answer could not be killed"));
    }
    onUnresponsive(vmId, error);
    onEnded(vmId, one.machine.outputs);
  };
  const open = (vmId: VmId) => openMachine(host, vmId, deadlines);
  const watch = (vmId: VmId, machine: Machine): void => {
    const ping = async () => {
      const outcome = await machine.ping();
      if (outcome === "ended") onEnded(vmId, machine.outputs);
      return outcome;
    };
    const watchdog = new Watchdog({
      ...options.watchdog,
      ping,
      onUnresponsive: (error) => void inTurn(vmId, () => kill(vmId, one, error)),
    });
    const one = { machine, watchdog };
    watched.set(vmId, one);
    watchdog.start();
  };
  const forget = (vmId: VmId) => {
    const one = watched.get(vmId);
    one?.watchdog.stop();
    one?.machine.close();
    watched.delete(vmId);
  };

  return {
    find: (vmId) => watched.get(vmId)?.machine,
    open,
    watch,
    forget,
    forgetAll() {
      for (const vmId of [...watched.keys()]) forget(vmId);
    },
    async matchHost() {
      const known = [...watched.keys()];
      const listed = new Map((await host.list()).map(({ vmId, state }) => [vmId, state]));
      for (const vmId of known) if (!listed.has(vmId)) forget(vmId);
      const isWatched = (vmId: VmId) => watched.get(vmId)?.watchdog.active === true;
      const unwatched = [...listed].filter(([vmId, state]) => state === "running" && !isWatched(vmId));
      const takeUp = async (vmId: VmId) => {
        if (isWatched(vmId)) return; // a start was under way, and is over now
        forget(vmId);
        watch(vmId, open(vmId));
      };
      await Promise.all(unwatched.map(([vmId]) => inTurn(vmId, () => takeUp(vmId))));
    },
  };
}
