import { randomUUID } from "node:crypto";
import { type Timestamp, timestampMs } from "@bufbuild/protobuf/wkt";
import type { Client } from "@connectrpc/connect";
import type { Logger } from "@lobsterd/chassis/logger.ts";
import { inSpan } from "@lobsterd/chassis/tracing.ts";
import type { SecretService } from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import { vmMetrics } from "../metrics.ts";
import type { TenantRecord } from "../store/tenant-record.ts";
import type { GuestAgents } from "./agent.ts";

/** Each costs a handshake and a key in the guest; many at once would be felt by whoever boots meanwhile. */
const concurrentRenewals = 4;

/**
 * Renews guests' identities at half of what is left of their life. When each is due is known to this process only: after a restart
 * every running guest is renewed once, and goes on from there.
 */
export interface Renewals {
  /** An identity was issued to this VM, until then. */
  issued(vmId: string, expireTime: Timestamp | undefined): void;
  /** Renews what runs and is due among all `tenants`. One that fails is due again at the next run, and holds up no other. */
  run(tenants: readonly TenantRecord[], signal: AbortSignal): Promise<void>;
}

export function createRenewals(parts: {
  readonly guests: GuestAgents;
  readonly secrets: Pick<Client<typeof SecretService>, "renewGuestIdentity">;
  readonly logger: Logger;
  readonly now: () => number;
}): Renewals {
  const { guests, secrets, logger, now } = parts;
  const dueMs = new Map<string, number>();

  function issued(vmId: string, expireTime: Timestamp | undefined): void {
    const expireMs = expireTime === undefined ? now() : timestampMs(expireTime);
    dueMs.set(vmId, now() + (expireMs - now()) / 2);
  }

  async function renew(tenant: TenantRecord, signal: AbortSignal): Promise<void> {
    const { name, vmId, generation } = tenant;
    let expireTime: Timestamp | undefined;
    await guests.renewIdentity(
      tenant,
      async ({ publicKey, proof }) => {
        const certified = await secrets.renewGuestIdentity(
          { requestId: randomUUID(), tenant: name, vmId, generation, publicKey, proof },
          { signal },
        );
        expireTime = certified.expireTime;
        return certified;
      },
      signal,
    );
    issued(vmId, expireTime);
  }

  async function attempt(tenant: TenantRecord, signal: AbortSignal): Promise<void> {
    try {
      await inSpan("renew-identity", { "lobsterd.vm_id": tenant.vmId }, () => renew(tenant, signal));
      vmMetrics.renewals.add(1, { outcome: "done" });
    } catch (error) {
      vmMetrics.renewals.add(1, { outcome: "failed" });
      logger.warn({ err: error, tenant: tenant.name, vmId: tenant.vmId }, "guest identity could not be renewed");
    }
  }

  return {
    issued,
    run: async (tenants, signal) => {
      const present = new Set(tenants.map(({ vmId }) => vmId));
      for (const vmId of dueMs.keys()) if (!present.has(vmId)) dueMs.delete(vmId);
      const waiting = tenants.filter(({ phase, vmId }) => phase === "running" && (dueMs.get(vmId) ?? 0) <= now());
      const work = async () => {
        for (let tenant = waiting.shift(); tenant !== undefined && !signal.aborted; tenant = waiting.shift())
          await attempt(tenant, signal);
      };
      await Promise.all(Array.from({ length: concurrentRenewals }, work));
    },
  };
}
