import { randomUUID } from "node:crypto";
import { inSpan } from "@lobsterd/chassis/tracing.ts";
import type { BackupParts } from "../backups/parts.ts";
import type { TenantRecord } from "../store/tenant-record.ts";
import type { HostParts } from "./host-parts.ts";
import type { OpenOperation, SpawnStep } from "./journal.ts";
import type { LifecycleParts } from "./lifecycle.ts";
import type { SleepFiles } from "./sleep-files.ts";

/** What of a tenant could not be removed, by the name of the part that refused. Empty: nothing is left. */
export type Leftovers = readonly string[];

interface Part {
  readonly name: string;
  /** The spawn steps that may have made it. */
  readonly madeBy: readonly SpawnStep[];
  remove(): Promise<unknown>;
}

/** One undo must not hold up the others: a peer that is down is asked again by the next reconcile. */
const partLimitMs = 10_000;

/**
 * Removes everything that a tenant has outside `vm`'s own store; the one way a tenant ends, whether it is evicted, its spawn
 * failed, or `vm` died in the middle of either. Needs only the record, is safe to repeat, goes on past failures and ignores
 * the caller's abort. The order matters: first nothing reaches the tenant and it reaches nothing, then its microVM dies, then
 * its keys go.
 */
export async function removeTenant(
  { parts, files, backups, logger }: Pick<LifecycleParts, "parts" | "files" | "backups" | "logger">,
  operation: OpenOperation,
): Promise<Leftovers> {
  const { tenant } = operation;
  const wanted = (part: Part) =>
    operation.kind === "evict" || part.madeBy.some((step) => operation.startedSteps.has(step));
  parts.guests.forget(tenant.vmId);
  const phases = [
    [route(parts, tenant), network(parts, tenant)],
    [microVm(parts, tenant), sealedFiles(files, tenant), backupFiles(backups, tenant)],
    [keys(parts, operation)],
  ];
  const leftovers: string[] = [];
  for (const phase of phases) {
    const results = await Promise.allSettled(
      phase.filter(wanted).map((part) =>
        inSpan(`remove-${part.name}`, { "lobsterd.vm_id": tenant.vmId }, async () => {
          try {
            await part.remove();
          } catch (cause) {
            throw new Error(part.name, { cause });
          }
        }),
      ),
    );
    for (const result of results) {
      if (result.status === "fulfilled") continue;
      const { reason } = result;
      leftovers.push(reason.message);
      logger.warn(
        { err: reason.cause, vmId: tenant.vmId, part: reason.message },
        "could not remove a part of a tenant",
      );
    }
  }
  return leftovers;
}

function route({ proxy }: HostParts, { name, vmId }: TenantRecord): Part {
  const request = { requestId: randomUUID(), tenant: name, vmId };
  return {
    name: "route",
    madeBy: ["publish-route"],
    remove: () => proxy.withdrawRoute(request, { timeoutMs: partLimitMs }),
  };
}

function network({ net }: HostParts, { vmId }: TenantRecord): Part {
  const request = { requestId: randomUUID(), vmId };
  return {
    name: "network",
    madeBy: ["attach-network"],
    remove: () => net.detachNetwork(request, { timeoutMs: partLimitMs }),
  };
}

function microVm({ vmm }: HostParts, { vmId }: TenantRecord): Part {
  return { name: "microvm", madeBy: ["prepare-jail", "boot-guest"], remove: () => vmm.remove(vmId) };
}

/** Without the tenant's key they are noise already; they are removed because they are large. */
function sealedFiles(files: SleepFiles, { vmId }: TenantRecord): Part {
  return { name: "sealed-files", madeBy: [], remove: () => files.remove(vmId) };
}

/** As the memories: their rows go with the tenant's. */
function backupFiles({ files }: BackupParts, { vmId }: TenantRecord): Part {
  return { name: "backups", madeBy: [], remove: () => files.remove(vmId) };
}

/** A failed spawn loses nobody's secrets: only an eviction destroys the tenant's key whatever is under it. The key of a disk is gone either way. */
function keys({ secrets }: HostParts, { kind, tenant }: OpenOperation): Part {
  const ends = kind === "evict" ? { vmId: "" } : { vmId: tenant.vmId, withUnusedKey: true };
  const request = { requestId: randomUUID(), tenant: tenant.name, ...ends };
  return {
    name: "keys",
    madeBy: ["issue-identity", "prepare-jail"],
    remove: () => secrets.shredTenant(request, { timeoutMs: partLimitMs }),
  };
}
