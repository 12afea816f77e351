/** The calls with which a guest is put to sleep and woken: `agent.ts` has the invariants of the channel. */
import { setTimeout as delay } from "node:timers/promises";
import { connectExpiredGuest, type createGuestAgentClient, type GuestAgent } from "@lobsterd/chassis/client.ts";
import { fail } from "../errors.ts";
import type { TenantRecord } from "../store/tenants.ts";
import type { Certified, GuestKey } from "./agent.ts";
import { isRefusal, reachable, withinContract } from "./contract.ts";

type GuestAgentClient = ReturnType<typeof createGuestAgentClient>;

/** The workload's own command may take half of it. */
const quiesceLimitMs = 30_000;
/** A guest that is let go on answers at once, save that its host is busy. */
const wakeLimitMs = 15_000;
const retryMs = 20;

type Certify = (key: GuestKey) => Promise<Certified>;

export interface GuestSleep {
  /**
   * Has the guest quiesce, and closes every connection to it: what is saved then holds no session key of this channel. Throws SUSPEND_REFUSED when the
   * workload does not agree, GUEST_MISBEHAVED or GUEST_UNREACHABLE.
   */
  prepareSuspend(tenant: TenantRecord, signal: AbortSignal): Promise<void>;
  /**
   * Has the workload agree and the file systems written, for a copy of the disk; connections and secrets stay. Throws as `prepareSuspend` does.
   */
  quiesceDisk(tenant: TenantRecord, signal: AbortSignal): Promise<void>;
  /** Gives a guest that stood still the host's time, and lets its workload go on. Throws GUEST_MISBEHAVED or GUEST_UNREACHABLE. */
  releaseDisk(tenant: TenantRecord, signal: AbortSignal): Promise<void>;
  /**
   * Like `renewIdentity`, from the first of `generations` that the guest proves to `tenant.generation`. From then on it refuses the one before. Throws
   * GUEST_UNREACHABLE when it proves none of them.
   */
  takeGeneration(
    tenant: TenantRecord,
    generations: readonly number[],
    certify: Certify,
    signal: AbortSignal,
  ): Promise<void>;
  /** Lets the workload and its port go on. Throws GUEST_MISBEHAVED or GUEST_UNREACHABLE. */
  completeResume(tenant: TenantRecord, signal: AbortSignal): Promise<void>;
}

/** What the calls need of the one place that talks to guests. */
export interface SleepChannel {
  guestOf(tenant: TenantRecord): GuestAgent;
  clientOf(tenant: TenantRecord): GuestAgentClient;
  /** Renews the identity over a connection, and closes it. */
  renew(guest: GuestAgentClient, tenant: TenantRecord, certify: Certify, signal: AbortSignal): Promise<void>;
  setClock(guest: GuestAgentClient, signal: AbortSignal): Promise<void>;
  forget(vmId: string): void;
}

export function openSleepCalls({ guestOf, clientOf, renew, setClock, forget }: SleepChannel): GuestSleep {
  /** A guest that has just been let go on may be slow to answer: it is asked until the time is over. */
  async function firstProved(
    tenant: TenantRecord,
    generations: readonly number[],
    signal: AbortSignal,
  ): Promise<GuestAgentClient> {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(wakeLimitMs)]);
    let failure: unknown;
    while (!limit.aborted) {
      for (const generation of generations) {
        if (limit.aborted) break;
        try {
          return await connectExpiredGuest(guestOf({ ...tenant, generation }));
        } catch (error) {
          failure = error;
        }
      }
      await delay(retryMs);
    }
    signal.throwIfAborted();
    throw fail("GUEST_UNREACHABLE", "the guest proves no generation that it could have", { cause: failure });
  }

  async function prepare(tenant: TenantRecord, diskOnly: boolean, signal: AbortSignal): Promise<void> {
    try {
      const { client } = clientOf(tenant);
      const options = { signal, timeoutMs: quiesceLimitMs };
      await reachable(() => withinContract(() => client.prepareSuspend({ diskOnly }, options)));
    } catch (error) {
      if (isRefusal(error)) throw fail("SUSPEND_REFUSED", "the workload refused to be suspended", { cause: error });
      throw error;
    }
  }

  async function complete(tenant: TenantRecord, signal: AbortSignal): Promise<void> {
    const { generation } = tenant;
    const { client } = clientOf(tenant);
    const options = { signal, timeoutMs: quiesceLimitMs };
    await reachable(() => withinContract(() => client.completeResume({ generation }, options)));
  }

  return {
    takeGeneration: async (tenant, generations, certify, signal) => {
      const guest = await firstProved(tenant, generations, signal);
      await renew(guest, tenant, certify, signal);
      forget(tenant.vmId);
    },
    prepareSuspend: async (tenant, signal) => {
      try {
        await prepare(tenant, false, signal);
      } finally {
        forget(tenant.vmId);
      }
    },
    quiesceDisk: (tenant, signal) => prepare(tenant, true, signal),
    releaseDisk: async (tenant, signal) => {
      await reachable(() => withinContract(() => setClock(clientOf(tenant), signal)));
      await complete(tenant, signal);
    },
    completeResume: complete,
  };
}
