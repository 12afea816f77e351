/**
 * The host's side of the guest agent's channel. Invariants:
 *
 * 1. A guest is dialled only with the identity that was issued for this VM and generation; TLS refuses anything else.
 * 2. Every answer is bounded by the transport and checked against the proto's rules before it is used.
 * 3. What a guest says affects that guest's tenant only.
 */
import { randomBytes } from "node:crypto";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { AgentTokens } from "@lobsterd/chassis/agent-tokens.ts";
import { connectExpiredGuest, createGuestAgentClient, type GuestAgent } from "@lobsterd/chassis/client.ts";
import { ServiceError } from "@lobsterd/chassis/errors.ts";
import { currentTraceId } from "@lobsterd/chassis/tracing.ts";
import {
  type CreateIdentityKeyResponse,
  type ExecRequest,
  ExecRequestSchema,
  type ExecResponse,
  type ExecStartSchema,
  type FinishedSpan,
  HealthRequestSchema,
  type HealthResponse,
  InstallIdentityRequestSchema,
  type SetClockRequest,
  SetClockRequestSchema,
  type StreamLogsRequestSchema,
  type StreamLogsResponse,
  WorkloadState,
} from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import type { RenewGuestIdentityResponse } from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import { fail } from "../errors.ts";
import type { TenantRecord } from "../store/tenant-record.ts";
import { type GuestLook, openLook } from "./agent-activity.ts";
import { type GuestSleep, openSleepCalls } from "./agent-sleep.ts";
import { untilAnswered, untilListening } from "./agent-wait.ts";
import { misbehaved, reachable, streamOf, withinContract } from "./contract.ts";

type GuestAgentClient = ReturnType<typeof createGuestAgentClient>;

const healthWaitSeconds = 5n;
const entropyBytes = 64;
const callLimitMs = 10_000;
/** For a caller who wants to know how a guest is and not to wait for it. */
const lookLimitMs = 2_000;
/** Half of what is promised of a guest's clock; the other half is the guest's, which leaves alone a clock that is so near. */
const clockUnderwayMs = 500;
const clockTries = 4;

/** The public half of a key that was made in a guest, with the proof that the guest has the other half. */
export type GuestKey = Pick<CreateIdentityKeyResponse, "publicKey" | "proof">;
export type Certified = Pick<RenewGuestIdentityResponse, "certificatePem" | "platformCaPem" | "agentTokenDigest">;

/** What a command is, and what it gets: pipes, or a terminal. */
export type CommandStart = MessageInitShape<typeof ExecStartSchema>;
/** What a command reads, and the sizes that its terminal takes. */
export type CommandInput = Extract<ExecRequest["message"], { case: "stdin" | "resize" }>;

export interface GuestAgents extends GuestSleep, GuestLook {
  /**
   * Resolves when the agent of this VM and generation answers and has the host's time. Throws BOOT_FAILED after `limitMs`, or when the guest
   * has refused connections for `refusedLimitMs` on end, as one does that is still booting.
   */
  awaitAgent(tenant: TenantRecord, limitMs: number, signal: AbortSignal, refusedLimitMs?: number): Promise<void>;
  /**
   * Resolves when the workload is healthy, with the guest's finished spans of the active trace. Throws WORKLOAD_FAILED when the
   * workload ended, or after `limitMs`.
   */
  awaitWorkload(tenant: TenantRecord, limitMs: number, signal: AbortSignal): Promise<readonly FinishedSpan[]>;
  /**
   * Gives the guest the host's time and a new identity: it makes a key, `certify` has it certified, it takes the certificate. A guest
   * whose certificate has expired meanwhile is renewed too. Throws GUEST_MISBEHAVED, or GUEST_UNREACHABLE when a call fails.
   */
  renewIdentity(
    tenant: TenantRecord,
    certify: (key: GuestKey) => Promise<Certified>,
    signal: AbortSignal,
  ): Promise<void>;
  /** Spans of the current trace that ended in the guest; none if it does not say within 2 s, whatever the reason. */
  finishedSpans(tenant: TenantRecord, signal: AbortSignal): Promise<readonly FinishedSpan[]>;
  /** Ends the workload and starts it anew; whether it is well then is `awaitWorkload`'s to say. Throws GUEST_MISBEHAVED or GUEST_UNREACHABLE. */
  restartWorkload(tenant: TenantRecord, signal: AbortSignal): Promise<void>;
  /** The state of the workload, as the agent says; undefined if it does not say within 2 s, whatever the reason. */
  workloadState(tenant: TenantRecord, signal: AbortSignal): Promise<WorkloadState | undefined>;
  /**
   * Lines of a log that the guest keeps. As they are asked for: what is not taken stays in the guest. Throws GUEST_MISBEHAVED, GUEST_BUSY,
   * GUEST_UNREACHABLE.
   */
  streamLogs(
    tenant: TenantRecord,
    request: MessageInitShape<typeof StreamLogsRequestSchema>,
    signal: AbortSignal,
  ): AsyncIterable<StreamLogsResponse>;
  /**
   * Runs a command as the workload's user; the guest says what it wrote, and its exit code last. Throws as `streamLogs` does, and what
   * `input` throws.
   */
  exec(
    tenant: TenantRecord,
    start: CommandStart,
    input: AsyncIterable<CommandInput>,
    signal: AbortSignal,
  ): AsyncIterable<ExecResponse>;
  /** SHA-256 of the token with which this VM and generation is called. */
  tokenDigest(tenant: TenantRecord): Uint8Array;
  /** Closes the connection to a VM that is going away. */
  forget(vmId: string): void;
  close(): void;
}

export interface GuestAgentSettings {
  readonly trustDomain: string;
  readonly certificatePath: string;
  readonly keyPath: string;
  readonly guestCaPath: string;
  readonly tokens: AgentTokens;
  readonly port?: number;
}

export function openGuestAgents(settings: GuestAgentSettings): GuestAgents {
  const { trustDomain, tokens, port = 7443, ...files } = settings;
  /** Without a client: the guest of that generation is about to be saved. */
  const clients = new Map<string, { readonly generation: number; readonly client: GuestAgentClient | undefined }>();

  const uriOf = (tenant: TenantRecord) =>
    `spiffe://${trustDomain}/guest/${tenant.name}/${tenant.vmId}/${tenant.generation}`;

  function guestOf(tenant: TenantRecord): GuestAgent {
    const expectedUri = uriOf(tenant);
    return {
      ...{ ...files, host: tenant.guestAddress, port, timeoutMs: callLimitMs },
      ...{ expectedUri, token: tokens.tokenFor(expectedUri) },
    };
  }

  /**
   * Of the latest generation that was asked for: whoever still asks for an earlier one, as a check that began before a resume does, is told that it is gone
   * and leaves nothing that a later call would meet. So is who asks for one that was dismissed.
   */
  function clientOf(tenant: TenantRecord): GuestAgentClient {
    const { vmId, generation } = tenant;
    const known = clients.get(vmId);
    if (known?.generation === generation && known.client !== undefined) return known.client;
    if (known !== undefined && known.generation >= generation)
      throw fail("GUEST_UNREACHABLE", "the guest is put to sleep, or has taken a later generation");
    forget(vmId);
    const client = createGuestAgentClient(guestOf(tenant));
    clients.set(vmId, { generation, client });
    return client;
  }

  function forget(vmId: string): void {
    clients.get(vmId)?.client?.close();
    clients.delete(vmId);
  }

  function dismiss({ vmId, generation }: TenantRecord): void {
    forget(vmId);
    clients.set(vmId, { generation, client: undefined });
  }

  async function health(
    tenant: TenantRecord,
    request: { waitSeconds: bigint; traceId: string },
    signal: AbortSignal,
  ): Promise<HealthResponse> {
    const { waitSeconds, traceId } = request;
    const answer = await withinContract(() =>
      clientOf(tenant).client.health(create(HealthRequestSchema, { wait: { seconds: waitSeconds }, traceId }), {
        signal,
      }),
    );
    if (answer.vmId !== tenant.vmId || answer.generation !== tenant.generation) throw misbehaved();
    return answer;
  }

  async function renew(
    guest: GuestAgentClient,
    tenant: TenantRecord,
    certify: (key: GuestKey) => Promise<Certified>,
    signal: AbortSignal,
  ): Promise<void> {
    const { generation } = tenant;
    const call = <T>(run: () => Promise<T>) => reachable(() => withinContract(run));
    try {
      const beganMs = performance.now();
      const key = await call(() => guest.client.createIdentityKey({ generation, clock: clockNow() }, { signal }));
      const isLate = performance.now() - beganMs > clockUnderwayMs;
      const [{ certificatePem, platformCaPem, agentTokenDigest }] = await Promise.all([
        certify(key),
        isLate ? call(() => setClock(guest, signal)) : undefined,
      ]);
      const tokenDigests = { vm: tokens.digestFor(uriOf(tenant)), secrets: agentTokenDigest };
      const certificate = { generation, certificatePem, platformCaPem, tokenDigests };
      await call(() => guest.client.installIdentity(create(InstallIdentityRequestSchema, certificate), { signal }));
    } finally {
      guest.close();
    }
  }

  const look = openLook(clientOf);
  return {
    awaitAgent: async (tenant, limitMs, signal, refusedLimitMs = limitMs) => {
      const limit = AbortSignal.any([signal, AbortSignal.timeout(limitMs)]);
      try {
        await untilListening({ host: tenant.guestAddress, port }, refusedLimitMs, limit);
        await untilAnswered(() => setClock(clientOf(tenant), limit), limit);
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
    renewIdentity: async (tenant, certify, signal) => {
      const guest = await reachable(() => withinContract(() => connectExpiredGuest(guestOf(tenant))));
      await renew(guest, tenant, certify, signal);
    },
    finishedSpans: async (tenant, signal) => {
      const traceId = currentTraceId();
      const limit = AbortSignal.any([signal, AbortSignal.timeout(lookLimitMs)]);
      try {
        const { spans } = await health(tenant, { waitSeconds: 0n, traceId }, limit);
        return spans.filter((span) => span.traceId === traceId);
      } catch {
        signal.throwIfAborted();
        return []; // a trace is never worth a failure
      }
    },
    restartWorkload: async (tenant, signal) => {
      await reachable(() => withinContract(() => clientOf(tenant).client.restartWorkload({}, { signal })));
    },
    workloadState: async (tenant, signal) => {
      const limit = AbortSignal.any([signal, AbortSignal.timeout(lookLimitMs)]);
      try {
        return (await health(tenant, { waitSeconds: 0n, traceId: "" }, limit)).workloadState;
      } catch {
        signal.throwIfAborted();
        return undefined; // that it does not answer is the answer
      }
    },
    streamLogs: (tenant, request, signal) =>
      streamOf((ended) => clientOf(tenant).client.streamLogs(request, { signal: ended }), signal),
    exec: (tenant, start, input, signal) =>
      streamOf((ended) => clientOf(tenant).client.exec(execRequests(start, input), { signal: ended }), signal),
    ...look,
    ...openSleepCalls({ guestOf, clientOf, renew, setClock, forget, dismiss, ...look }),
    tokenDigest: (tenant) => tokens.digestFor(uriOf(tenant)),
    forget,
    close: () => {
      for (const vmId of [...clients.keys()]) forget(vmId);
    },
  };
}

async function* execRequests(start: CommandStart, input: AsyncIterable<CommandInput>) {
  yield create(ExecRequestSchema, { message: { case: "start", value: start } });
  for await (const message of input) yield create(ExecRequestSchema, { message });
  yield create(ExecRequestSchema, { message: { case: "stdinEnd", value: true } });
}

/** Tells the time once more to a guest that took long to take it: by as much its clock may be slow. */
async function setClock({ client }: GuestAgentClient, signal: AbortSignal): Promise<void> {
  for (let told = 0; told < clockTries; told += 1) {
    const beganMs = performance.now();
    await client.setClock(clockNow(), { signal });
    if (performance.now() - beganMs <= clockUnderwayMs) return;
  }
}

/** The host's time, and random bytes that nobody else is given. */
function clockNow(): SetClockRequest {
  const entropy = { value: randomBytes(entropyBytes) };
  return create(SetClockRequestSchema, { hostTime: timestampFromMs(Date.now()), entropy });
}
