import { inSpan } from "@lobsterd/chassis/tracing.ts";
import type { OpenOperation } from "../lifecycle/journal.ts";
import type { Lifecycle } from "../lifecycle/lifecycle.ts";
import { releaseGuest } from "./copy-disk.ts";

/** Lets a guest go on that a backup left standing still, which nobody waits for any more. */
export async function settleBackup(life: Lifecycle, { tenant: { name, vmId } }: OpenOperation): Promise<void> {
  await life.turns.take(vmId, async (evicted) => {
    const operation = life.journal.find(vmId);
    if (operation?.kind !== "backup") return;
    await inSpan("settle-backup", { "lobsterd.tenant": name, "lobsterd.vm_id": vmId }, () =>
      releaseGuest(life, operation.tenant, evicted),
    );
  });
}
