import { ownOutcome } from "@lobsterd/chassis/audit.ts";
import { fail } from "../errors.ts";
import { type SealedState, sealedObjectId } from "../store/sealed-states.ts";
import type { TenantRecord } from "../store/tenant-record.ts";
import type { Lifecycle } from "./lifecycle.ts";

type SealAction = "SealState" | "ConsumeState";

/** What the audit log keeps of a sealed state, so that a store and files of before are known as such. To be called in the transaction that it tells of. */
export function recordSeal(life: Lifecycle, action: SealAction, tenant: TenantRecord, sealed: SealedState): void {
  const { name, generation } = tenant;
  const resource = sealedObjectId(sealed);
  life.record(ownOutcome({ action, outcome: "success", reason: "", tenant: name, generation, resource }));
}

/**
 * Throws ROLLBACK when the audit log has a later state of this microVM, or that this one was used up: this service's store was put back together with
 * its files. A record that is still in the spool is missing there, which refuses nothing.
 */
export async function refuseOlderThanAudit(
  life: Lifecycle,
  { name }: TenantRecord,
  sealed: SealedState,
  signal: AbortSignal,
): Promise<void> {
  const last = async (action: SealAction) => {
    const { record } = await life.parts.audit.getLatestOwnRecord({ tenant: name, action }, { signal });
    return counterOf(record?.draft?.resource ?? "", sealed.vmId);
  };
  const [sealedLast, consumedLast] = await Promise.all([last("SealState"), last("ConsumeState")]);
  if (sealedLast <= sealed.counter && consumedLast < sealed.counter) return;
  throw fail("ROLLBACK", "the audit log knows a later state of the tenant, or that this one was used up");
}

/** 0 for what is not of this microVM: a name outlives its tenants. */
function counterOf(objectId: string, vmId: string): number {
  const [, counter = ""] = new RegExp(`^${vmId}-(\\d{1,15})$`).exec(objectId) ?? [];
  return Number(counter);
}
