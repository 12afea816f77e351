/**
 * The host's side of the guest agent's channel. Invariants:
 *
 * 1. A guest is dialled only with the identity that was issued for this VM and generation; TLS refuses anything else.
 * 2. Every answer is bounded by the transport and checked against the proto's rules before it is used.
 * 3. What a guest says affects that guest's tenant only.
 */
import { connect } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { createValidator } from "@bufbuild/protovalidate";
import { createGuestAgentClient } from "@lobsterd/chassis/client.ts";
import { ServiceError } from "@lobsterd/chassis/errors.ts";
import { currentTraceId } from "@lobsterd/chassis/tracing.ts";
import {
  type FinishedSpan,
  HealthRequestSchema,
  type HealthResponse,
  HealthResponseSchema,
  WorkloadState,
} from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { fail } from "../errors.ts";
import type { TenantRecord } from "../store/tenants.ts";

type GuestAgentClient = ReturnType<typeof createGuestAgentClient>;

const agentPort = 7443;
/** Pause between attempts to reach a guest that is still booting. A refused SYN is cheap; a guest that is up is found at once. */
const retryMs = 20;
/** A guest without a configured link answers nothing: give up on the SYN early, as a repeated one comes only after 1 s. */
const connectLimitMs = 250;
const healthWaitSeconds = 5n;

export interface GuestAgents {
  /** Resolves when the agent of this VM and generation answers. Throws BOOT_FAILED after `limitMs`. */
  awaitAgent(tenant: TenantRecord, limitMs: number, signal: AbortSignal): Promise<void>;
  /**
   * Resolves when the workload is healthy, with the guest's finished spans of the active trace. Throws WORKLOAD_FAILED when the
   * workload ended, or after `limitMs`.
   */
  awaitWorkload(tenant: TenantRecord, limitMs: number, signal: AbortSignal): Promise<readonly FinishedSpan[]>;
  /** Closes the connection to a VM that is going away. */
  forget(vmId: string): void;
  close(): void;
}

export interface GuestAgentSettings {
  readonly trustDomain: string;
  readonly certificatePath: string;
  readonly keyPath: string;
  readonly guestCaPath: string;
}

export function openGuestAgents(settings: GuestAgentSettings): GuestAgents {
  const clients = new Map<string, GuestAgentClient>();
  const validator = createValidator();

  function clientOf(tenant: TenantRecord): GuestAgentClient {
    const known = clients.get(tenant.vmId);
    if (known !== undefined) return known;
    const client = createGuestAgentClient({
      host: tenant.guestAddress,
      port: agentPort,
      certificatePath: settings.certificatePath,
      keyPath: settings.keyPath,
      guestCaPath: settings.guestCaPath,
      expectedUri: `spiffe://${settings.trustDomain}/guest/${tenant.name}/${tenant.vmId}/${tenant.generation}`,
      timeoutMs: 10_000,
    });
    clients.set(tenant.vmId, client);
    return client;
  }

  function forget(vmId: string): void {
    clients.get(vmId)?.close();
    clients.delete(vmId);
  }

  async function health(
    tenant: TenantRecord,
    request: { waitSeconds: bigint; traceId: string },
    signal: AbortSignal,
  ): Promise<HealthResponse> {
    const { waitSeconds, traceId } = request;
    const answer = await clientOf(tenant).client.health(
      create(HealthRequestSchema, { wait: { seconds: waitSeconds }, traceId }),
      { signal },
    );
    // Invariant 2.
    const { kind } = validator.validate(HealthResponseSchema, answer);
    if (kind !== "valid" || answer.vmId !== tenant.vmId || answer.generation !== tenant.generation) {
      throw fail("GUEST_MISBEHAVED", "the guest's agent gave an answer outside its contract");
    }
    return answer;
  }

  return {
    awaitAgent: async (tenant, limitMs, signal) => {
      const limit = AbortSignal.any([signal, AbortSignal.timeout(limitMs)]);
      try {
        await untilListening(tenant.guestAddress, limit);
        await untilAnswered(() => health(tenant, { waitSeconds: 0n, traceId: "" }, limit), limit);
      } catch (cause) {
        forget(tenant.vmId);
        signal.throwIfAborted();
        if (cause instanceof ServiceError) throw cause;
        throw fail("BOOT_FAILED", `the guest did not answer within ${limitMs} ms`, { cause });
      }
    },
    awaitWorkload: async (tenant, limitMs, signal) => {
      const timeout = AbortSignal.timeout(limitMs);
      const limit = AbortSignal.any([signal, timeout]);
      const request = { waitSeconds: healthWaitSeconds, traceId: currentTraceId() };
      while (!timeout.aborted) {
        signal.throwIfAborted();
        const { workloadState, spans } = await untilAnswered(() => health(tenant, request, limit), limit).catch(
          (cause) => {
            signal.throwIfAborted();
            throw fail("WORKLOAD_FAILED", "the guest stopped answering before its workload was healthy", { cause });
          },
        );
        // Invariant 3: a guest must not write into other tenants' traces.
        if (workloadState === WorkloadState.HEALTHY) return spans.filter((span) => span.traceId === request.traceId);
        if (workloadState === WorkloadState.FAILED) throw fail("WORKLOAD_FAILED", "the guest's workload ended");
      }
      throw fail("WORKLOAD_FAILED", `the guest's workload was not healthy within ${limitMs} ms`);
    },
    forget,
    close: () => {
      for (const vmId of [...clients.keys()]) forget(vmId);
    },
  };
}

async function untilListening(host: string, signal: AbortSignal): Promise<void> {
  for (;;) {
    signal.throwIfAborted();
    if (await accepts(host)) return;
    await delay(retryMs, undefined, { signal });
  }
}

/**
 * A guest that boots can be slow to answer, and its agent closes connections that were idle: neither says that the guest will
 * not answer. Only an answer outside the contract ends the wait before the limit does.
 */
async function untilAnswered<T>(call: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (signal.aborted || error instanceof ServiceError) throw error;
      await delay(retryMs, undefined, { signal });
    }
  }
}

function accepts(host: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port: agentPort });
    const settle = (accepted: boolean) => {
      socket.destroy();
      resolve(accepted);
    };
    socket.setTimeout(connectLimitMs, () => settle(false));
    socket.once("connect", () => settle(true));
    socket.once("error", () => settle(false));
  });
}
