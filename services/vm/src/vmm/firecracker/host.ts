import type { Duplex } from "node:stream";
import type { VmmHost } from "../port.ts";

export type Channel = "api" | "log" | "metrics" | "serial";

/**
 * What starts Firecracker for this adapter: the launcher, or a double of it. A started VM has its jail and its VMM process, and no guest
 * yet; the adapter makes the machine over the VM's API channel. Names inside the jail are those of `jailPaths`.
 */
export interface FirecrackerHost extends VmmHost {
  /**
   * Opens a channel of a VM that was started: raw bytes of the VMM's API socket, or out of one of its FIFOs. One connection per VM and channel.
   * Errors: NOT_FOUND (it does not run), CHANNEL_BUSY, UNAVAILABLE, TIMED_OUT.
   */
  connect(vmId: string, channel: Channel): Promise<Duplex>;

  /**
   * Called after InstanceStart and after a snapshot load: puts the kernel's timer thread into the VM's cgroup and reads the process back.
   * Errors: NOT_FOUND, JAIL_MISMATCH (it was killed).
   */
  place(vmId: string): Promise<unknown>;

  /** Kills the VM's processes and keeps its disk; its identity drive is gone. Safe to repeat. Errors: NOT_FOUND. */
  stop(vmId: string): Promise<void>;
}

/** Whether a host has the verbs that Firecracker needs beside the port's own. */
export function isFirecrackerHost(host: VmmHost): host is FirecrackerHost {
  return ["connect", "place", "stop"].every((verb) => verb in host);
}
