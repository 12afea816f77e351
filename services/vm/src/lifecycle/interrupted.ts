import { ownOutcome } from "@lobsterd/chassis/audit.ts";
import { inSpan } from "@lobsterd/chassis/tracing.ts";
import { fail } from "../errors.ts";
import type { OpenOperation } from "./journal.ts";
import type { Lifecycle } from "./lifecycle.ts";

/**
 * Removes what an operation left that nobody waits for any more: `vm` died in it, or a part refused when its caller was still there. Once
 * nothing is left, says what the caller's own record could not: the OUTCOME, which is written in the transaction that ends the operation, and
 * the event. What is still left is in the log, and comes again with the next run.
 */
export async function finishInterrupted(life: Lifecycle, operation: OpenOperation): Promise<void> {
  const { tenant, kind } = operation;
  const { name, vmId, generation } = tenant;
  const interrupted = fail("SPAWN_INTERRUPTED", `the spawn of ${name} was interrupted and has been removed`);
  const told =
    kind === "evict"
      ? ({ action: "EvictTenant", outcome: "success", reason: "" } as const)
      : ({ action: "SpawnTenant", outcome: "failure", reason: interrupted.reason } as const);
  await inSpan("finish-interrupted", { "lobsterd.tenant": name, "lobsterd.vm_id": vmId }, async () => {
    const leftovers = await life.remove(vmId, () =>
      life.record(ownOutcome({ ...told, tenant: name, resource: vmId, generation })),
    );
    if (leftovers.length > 0) return;
    if (kind === "evict") life.events.tenantEvicted(tenant);
    else life.events.tenantSpawnFailed(tenant, interrupted);
  });
}
