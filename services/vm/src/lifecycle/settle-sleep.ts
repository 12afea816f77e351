import { inSpan } from "@lobsterd/chassis/tracing.ts";
import type { OpenOperation } from "./journal.ts";
import type { Lifecycle } from "./lifecycle.ts";
import { settleSuspended } from "./suspend.ts";
import { wakeOrBoot } from "./wake.ts";

/** Brings a suspend or a resume to its end that nobody waits for any more, as journal rule 6 says. What fails is logged and comes again. */
export async function settleSleep(life: Lifecycle, { tenant: { name, vmId } }: OpenOperation): Promise<void> {
  await life.turns.take(vmId, async (evicted) => {
    // Whoever had the turn before may have ended it, or have begun something else.
    const operation = life.journal.find(vmId);
    if (operation === undefined || (operation.kind !== "suspend" && operation.kind !== "resume")) return;
    await inSpan("settle-sleep", { "lobsterd.tenant": name, "lobsterd.vm_id": vmId }, async () => {
      if (life.sealedStates.find(vmId) !== undefined) await settleSuspended(life, operation.tenant, evicted);
      else await wakeOrBoot(life, life.journal.beginWake(operation.tenant), evicted);
    });
  });
}

/** Removes files that are nobody's memory: those of microVMs that are gone, and those of an attempt that failed or ended. */
export async function sweepSleepFiles(life: Lifecycle): Promise<void> {
  await life.files.sweep(({ vmId, name }) => life.turns.isBusy(vmId) || life.sealedStates.fileNames().has(name));
}
