/** QEMU's monitor of a bare guest: its state is saved into a file and loaded out of it, without a launcher. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type Monitor, openMonitor } from "@lobsterd/vm/vmm/qemu/monitor.ts";
import { z } from "zod";
import type { BareGuest } from "./bare-boot.ts";

/** What a guest needs in `extraArguments` to have a monitor. */
export const monitorArguments: readonly string[] = ["-qmp", "unix:{directory}/monitor,server=on,wait=off"];
const connectWithinMs = 10_000;
const comesSoFarWithinMs = 120_000;
/** As fast as it goes; the default is that of a network. */
const unlimited = { "max-bandwidth": 64 * 1024 ** 3 };
const anything = z.unknown();
const statusSchema = z.looseObject({ status: z.string().optional() });

/** What a guest that begins with the state in `path` is started with, beside its monitor; it stands still until `goOn`. */
export function loadingArguments(path: string): string[] {
  return [...monitorArguments, "-incoming", `exec:cat ${path}`, "-S"];
}

export async function withMonitor<T>(
  { directory }: Pick<BareGuest, "directory">,
  work: (monitor: Monitor) => Promise<T>,
): Promise<T> {
  const monitor = await openMonitor(await connected(join(directory, "monitor")));
  try {
    return await work(monitor);
  } finally {
    monitor.close();
  }
}

/** Stops the guest and writes its state to `path`. */
export async function saveState(monitor: Monitor, path: string): Promise<void> {
  await monitor.execute("stop", anything);
  await monitor.execute("migrate-set-parameters", anything, unlimited);
  await monitor.execute("migrate", anything, { uri: `exec:cat > ${path}` });
  await until(async () => {
    const { status } = await monitor.execute("query-migrate", statusSchema);
    if (status === "failed") throw new Error("QEMU could not save the guest");
    return status === "completed";
  });
}

/** Lets a guest run that was started with `loadingArguments`, once its state is loaded. */
export async function goOn(monitor: Monitor): Promise<void> {
  await until(async () => (await monitor.execute("query-status", statusSchema)).status === "paused");
  await monitor.execute("cont", anything);
}

/** Waits two minutes at most. */
export async function until(isSo: () => Promise<boolean>): Promise<void> {
  for (const deadline = performance.now() + comesSoFarWithinMs; !(await isSo()); await delay(2))
    if (performance.now() > deadline) throw new Error("the guest or QEMU did not come so far");
}

/** QEMU makes its socket a moment after its start; the one of the machine before refuses. */
async function connected(path: string): Promise<Socket> {
  for (const deadline = performance.now() + connectWithinMs; ; await delay(5)) {
    const socket = connect(path);
    try {
      await once(socket, "connect");
      return socket;
    } catch (error) {
      if (performance.now() > deadline) throw error;
    }
  }
}
