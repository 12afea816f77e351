/** The calls with which a guest is put to sleep and woken: `agent.ts` has the invariants of the channel. */
import { setTimeout as delay } from "node:timers/promises";
import { connectExpiredGuest, type createGuestAgentClient, type GuestAgent } from "@lobsterd/chassis/client.ts";
import type { PrepareSuspendResponse } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { fail } from "../errors.ts";
import { type ScheduledRun, toScheduledRuns } from "../schedules/runs.ts";
import type { TenantRecord } from "../store/tenant-record.ts";
import type { Certified, GuestKey } from "./agent.ts";
import type { GuestLook } from "./agent-activity.ts";
import { isRefusal, reachable, withinContract } from "./contract.ts";

type GuestAgentClient = ReturnType<typeof createGuestAgentClient>;

/** The workload's own command may take half of it. */
const quiesceLimitMs = 30_000;
/** A guest that is let go on answers at once, save that its host is busy. */
const wakeLimitMs = 15_000;
const retryMs = 20;
const scheduleLimitMs = 10_000;

type Certify = (key: GuestKey) => Promise<Certified>;

export interface GuestSleep {
  /**
   * Has the guest quiesce, closes every connection to it and, whatever came of it, opens no other for this generation: what is saved then holds no
   * session key of this channel. Throws SUSPEND_REFUSED when the workload does not agree, GUEST_MISBEHAVED or GUEST_UNREACHABLE. Returns what the
   * workload has scheduled.
   */
  prepareSuspend(tenant: TenantRecord, signal: AbortSignal): Promise<readonly ScheduledRun[]>;
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
  readonly activity: GuestLook["activity"];
  forget(vmId: string): void;
  /** Closes the connection to a guest, and has `clientOf` refuse its generation until the VM is forgotten. */
  dismiss(tenant: TenantRecord): void;
}

export function openSleepCalls({
  guestOf,
  clientOf,
  renew,
  setClock,
  activity,
  forget,
  dismiss,
}: SleepChannel): GuestSleep {
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

  async function prepare(
    tenant: TenantRecord,
    diskOnly: boolean,
    signal: AbortSignal,
  ): Promise<PrepareSuspendResponse> {
    try {
      const { client } = clientOf(tenant);
      const options = { signal, timeoutMs: quiesceLimitMs };
      return await reachable(() => withinContract(() => client.prepareSuspend({ diskOnly }, options)));
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
        const { schedule } = await prepare(tenant, false, signal);
        // An agent of before it was asked so has to be asked.
        const { nextRuns } = schedule ?? (await activity(tenant, scheduleLimitMs, signal));
        return toScheduledRuns(nextRuns);
      } finally {
        dismiss(tenant);
      }
    },
    quiesceDisk: async (tenant, signal) => void (await prepare(tenant, true, signal)),
    releaseDisk: async (tenant, signal) => {
      await reachable(() => withinContract(() => setClock(clientOf(tenant), signal)));
      await complete(tenant, signal);
    },
    completeResume: complete,
  };
}
