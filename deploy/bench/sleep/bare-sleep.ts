import { once } from "node:events";
import { stat } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type Monitor, openMonitor } from "@lobsterd/vm/vmm/qemu/monitor.ts";
import { z } from "zod";
import { checkout } from "../../client/stack-env.ts";
import { firstHttpAnswerMs, startBareGuest } from "../../guest/image/bare-boot.ts";
import { wakeByHand } from "./bare-wake.ts";

/** What QEMU alone takes: to write a guest's memory into a tmpfs, and from its start with that memory to the guest's first answer. Milliseconds. */
export interface BareSleep {
  readonly saveMs: number;
  readonly restoreMs: number;
  /** The restore with a wake's calls to the guest before its first answer. */
  readonly wakeMs: number;
  readonly stateBytes: number;
}

const monitorArguments = ["-qmp", "unix:{directory}/monitor,server=on,wait=off"];
/** As fast as it goes; the default is that of a network. */
const unlimited = { "max-bandwidth": 64 * 1024 ** 3 };
const anything = z.unknown();

/** Saves and restores a guest of the image `base`, without any of the stack, through a file on the tmpfs `directory`. */
export async function measureBareSleep(memoryMib: number, directory: string): Promise<BareSleep> {
  const image = join(checkout, ".cache/images/base");
  const guest = await startBareGuest({ image, memoryMib, extraArguments: monitorArguments });
  const state = join(directory, "bare.state");
  const monitorPath = join(guest.directory, "monitor");
  try {
    await firstHttpAnswerMs(guest, 60_000);
    const saveMs = await withMonitor(monitorPath, async (monitor) => {
      const start = performance.now();
      await monitor.execute("stop", anything);
      await monitor.execute("migrate-set-parameters", anything, unlimited);
      await monitor.execute("migrate", anything, { uri: `exec:cat > ${state}` });
      await untilSent(monitor);
      return performance.now() - start;
    });
    const restore = async (): Promise<void> => {
      await guest.startAgain([...monitorArguments, "-incoming", `exec:cat ${state}`, "-S"]);
      await withMonitor(monitorPath, async (monitor) => {
        await untilLoaded(monitor);
        await monitor.execute("cont", anything);
      });
    };
    await restore();
    const restoreMs = await firstHttpAnswerMs(guest, 60_000);
    await restore();
    await wakeByHand(guest);
    const wakeMs = await firstHttpAnswerMs(guest, 60_000);
    return { saveMs, restoreMs, wakeMs, stateBytes: (await stat(state)).size };
  } finally {
    await guest.stop();
  }
}

async function withMonitor<T>(path: string, work: (monitor: Monitor) => Promise<T>): Promise<T> {
  const monitor = await openMonitor(await connected(path));
  try {
    return await work(monitor);
  } finally {
    monitor.close();
  }
}

/** QEMU makes its socket a moment after its start; the one of the machine before refuses. */
async function connected(path: string): Promise<Socket> {
  for (const deadline = performance.now() + 10_000; ; await delay(5)) {
    const socket = connect(path);
    try {
      await once(socket, "connect");
      return socket;
    } catch (error) {
      if (performance.now() > deadline) throw error;
    }
  }
}

const untilSent = (monitor: Monitor) =>
  until(async () => {
    const { status } = await monitor.execute("query-migrate", z.looseObject({ status: z.string().optional() }));
    if (status === "failed") throw new Error("QEMU could not save the guest");
    return status === "completed";
  });

const untilLoaded = (monitor: Monitor) =>
  until(async () => {
    const { status } = await monitor.execute("query-status", z.looseObject({ status: z.string() }));
    return status === "paused" || status === "prelaunch";
  });

async function until(isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo())) await delay(2);
}
