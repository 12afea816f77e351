import type { Duplex } from "node:stream";
import type { VmmHost, VmStart, VmStartReport } from "../port.ts";

export type Channel = "api" | "log" | "metrics" | "serial" | "state" | "memory";

/**
 * What starts Firecracker for this adapter: the launcher, or a double of it. A started VM has its jail and its VMM process, and no guest
 * yet; the adapter makes the machine over the VM's API channel. Names inside the jail are those of `jailPaths`.
 */
export interface FirecrackerHost extends VmmHost {
  /**
   * Opens a channel of a VM that was started: raw bytes of the VMM's API socket, out of one of its FIFOs, or out of a file of the state that it saved, which
   * is gone from the jail then. One connection per VM and channel. A channel that ends may have been cut off.
   * Errors: NOT_FOUND (it does not run), CHANNEL_BUSY, HOST_UNSAFE (what stands there is not the VMM's own), UNAVAILABLE, TIMED_OUT.
   */
  connect(vmId: string, channel: Channel): Promise<Duplex>;

  /** Starts a VMM that waits for the files of a state. Errors: those of `start`. */
  startWaiting(start: VmStart): Promise<VmStartReport>;

  /**
   * Makes room for the files of a state that a running VM's VMM is about to save, and tells how much memory its guest has. Errors: NOT_FOUND, VMM_FAILED (there is
   * no room).
   */
  makeRoom(vmId: string): Promise<{ readonly memoryMib: number }>;

  /** Takes away what is left of those files. Safe to repeat. Errors: NOT_FOUND. */
  clearRoom(vmId: string): Promise<void>;

  /**
   * Puts a file into the jail that the VMM is about to load: that of the devices ("incoming"), or the memory's. On return all of it is there. What `bytes` fails
   * with is thrown as it is; a piece is nobody's when the next one is asked for. Errors: NOT_FOUND, VMM_FAILED (there is no room), UNAVAILABLE, TIMED_OUT.
   */
  put(
    vmId: string,
    channel: "incoming" | "incomingMemory",
    bytes: AsyncIterable<Buffer>,
    signal: AbortSignal,
  ): Promise<void>;

  /**
   * Called after InstanceStart and after a snapshot load: takes the names of loaded files away, puts the kernel's timer thread into the VM's
   * cgroup and reads the process back. Errors: NOT_FOUND, JAIL_MISMATCH (it was killed).
   */
  place(vmId: string): Promise<unknown>;

  /** Kills the VM's processes and keeps its disk; its identity drive is gone. Safe to repeat. Errors: NOT_FOUND. */
  stop(vmId: string): Promise<void>;
}

/** Whether a host has the verbs that Firecracker needs beside the port's own. */
export function isFirecrackerHost(host: VmmHost): host is FirecrackerHost {
  return ["connect", "place", "stop", "startWaiting", "makeRoom", "clearRoom", "put"].every((verb) => verb in host);
}
