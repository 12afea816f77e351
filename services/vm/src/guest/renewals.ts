import { randomUUID } from "node:crypto";
import { type Timestamp, timestampMs } from "@bufbuild/protobuf/wkt";
import type { Client } from "@connectrpc/connect";
import type { Logger } from "@lobsterd/chassis/logger.ts";
import { inSpan } from "@lobsterd/chassis/tracing.ts";
import type { SecretService } from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import type { Turns } from "../lifecycle/turns.ts";
import { vmMetrics } from "../metrics.ts";
import type { TenantRecord } from "../store/tenant-record.ts";
import type { TenantStore } from "../store/tenants.ts";
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
  /**
   * Renews what runs and is due, each in its turn: a wake that was under way would lose its guest to a key of the generation before. One that is busy
   * or fails is due again at the next run, and holds up no other.
   */
  run(host: RenewedHost, signal: AbortSignal): Promise<void>;
}

export interface RenewedHost {
  readonly tenants: Pick<TenantStore, "all" | "findByVm">;
  readonly turns: Turns;
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

  const isDue = ({ phase, vmId }: TenantRecord) => phase === "running" && (dueMs.get(vmId) ?? 0) <= now();

  async function attempt({ tenants, turns }: RenewedHost, listed: TenantRecord, signal: AbortSignal) {
    const { name, vmId } = listed;
    if (turns.isBusy(vmId)) return;
    try {
      await turns.take(vmId, async (evicted) => {
        // With many guests the list is minutes old by now.
        const tenant = tenants.findByVm(vmId);
        if (tenant === undefined || !isDue(tenant)) return;
        const either = AbortSignal.any([signal, evicted]);
        await inSpan("renew-identity", { "lobsterd.vm_id": vmId }, () => renew(tenant, either));
        vmMetrics.renewals.add(1, { outcome: "done" });
      });
    } catch (error) {
      vmMetrics.renewals.add(1, { outcome: "failed" });
      logger.warn({ err: error, tenant: name, vmId }, "guest identity could not be renewed");
    }
  }

  return {
    issued,
    run: async (host, signal) => {
      const all = host.tenants.all();
      const present = new Set(all.map(({ vmId }) => vmId));
      for (const vmId of dueMs.keys()) if (!present.has(vmId)) dueMs.delete(vmId);
      const waiting = all.filter(isDue);
      const work = async () => {
        for (let tenant = waiting.shift(); tenant !== undefined && !signal.aborted; tenant = waiting.shift())
          await attempt(host, tenant, signal);
      };
      await Promise.all(Array.from({ length: concurrentRenewals }, work));
    },
  };
}
