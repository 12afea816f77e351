import { inSpan } from "@lobsterd/chassis/tracing.ts";
import type { OpenOperation } from "../lifecycle/journal.ts";
import type { Lifecycle } from "../lifecycle/lifecycle.ts";
import { releaseGuest } from "./copy-disk.ts";

/** Since a backup began, which may itself take three minutes; then a guest that does not hear of its end is the watchdog's. */
const releaseAgainMs = 240_000;

/** Lets a guest go on that a backup left standing still, which nobody waits for any more. */
export async function settleBackup(life: Lifecycle, { tenant: { name, vmId } }: OpenOperation): Promise<void> {
  await life.turns.take(vmId, async (evicted) => {
    const operation = life.journal.find(vmId);
    if (operation?.kind !== "backup") return;
    const isLast = life.now() - operation.startTimeMs > releaseAgainMs;
    await inSpan("settle-backup", { "lobsterd.tenant": name, "lobsterd.vm_id": vmId }, () =>
      releaseGuest(life, operation.tenant, evicted, isLast),
    );
  });
}
