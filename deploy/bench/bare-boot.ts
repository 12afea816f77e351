import { join } from "node:path";
import { checkout } from "../client/stack-env.ts";
import { firstHttpAnswerMs, startBareGuest } from "../guest/image/bare-boot.ts";

/** Milliseconds from starting QEMU on the image `base`, without any of the stack, to the first answer of its gateway. */
export async function measureBareBoot(): Promise<number> {
  const guest = await startBareGuest({ image: join(checkout, ".cache/images/base"), memoryMib: 256 });
  try {
    return await firstHttpAnswerMs(guest, 60_000);
  } finally {
    await guest.stop();
  }
}
