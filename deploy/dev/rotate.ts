import { askSupervisor } from "./control.ts";
import { ensureIdentities } from "./identities.ts";
import type { Instance } from "./instance.ts";
import { withLock } from "./lock.ts";
import { signalProcess } from "./proc.ts";
import { readAccounts } from "./users.ts";

/**
 * Makes every leaf of the instance anew, the authorities not, and returns their names. Services and their clients look at the files each
 * second, `proxy` has Caddy read them again, and the broker is told; connections that are open stay.
 */
export async function rotate(instance: Instance): Promise<string[]> {
  return withLock(instance.name, async () => {
    const made = await ensureIdentities(instance, readAccounts(), "all");
    const answer = await askSupervisor(instance.controlSocketPath, { verb: "status" });
    const broker = answer?.processes.find(({ name }) => name === "nats");
    if (broker?.pid !== undefined && broker.startTicks !== undefined) {
      signalProcess({ pid: broker.pid, startTicks: broker.startTicks }, "SIGHUP");
    }
    return made;
  });
}
