import { stat } from "node:fs/promises";
import { join } from "node:path";
import { checkout } from "../../client/stack-env.ts";
import { firstHttpAnswerMs, startBareGuest } from "../../guest/image/bare-boot.ts";
import { goOn, loadingArguments, monitorArguments, saveState, withMonitor } from "../../guest/image/bare-monitor.ts";
import { wakeByHand } from "./bare-wake.ts";

/** What QEMU alone takes: to write a guest's memory into a tmpfs, and from its start with that memory to the guest's first answer. Milliseconds. */
export interface BareSleep {
  readonly saveMs: number;
  readonly restoreMs: number;
  /** The restore with a wake's calls to the guest before its first answer. */
  readonly wakeMs: number;
  readonly stateBytes: number;
}

/** Saves and restores a guest of the image `base`, without any of the stack, through a file on the tmpfs `directory`. */
export async function measureBareSleep(memoryMib: number, directory: string): Promise<BareSleep> {
  const image = join(checkout, ".cache/images/base");
  const guest = await startBareGuest({ image, memoryMib, extraArguments: monitorArguments });
  const state = join(directory, "bare.state");
  try {
    await firstHttpAnswerMs(guest, 60_000);
    const saveMs = await withMonitor(guest, async (monitor) => {
      const start = performance.now();
      await saveState(monitor, state);
      return performance.now() - start;
    });
    const restore = async (): Promise<void> => {
      await guest.startAgain(loadingArguments(state));
      await withMonitor(guest, goOn);
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
