import { isUtf8 } from "node:buffer";
import { create } from "@bufbuild/protobuf";
import { durationMs, timestampMs } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import {
  type AgentService,
  CompleteResumeResponseSchema,
  CreateIdentityKeyResponseSchema,
  FinishedSpanSchema,
  type HealthRequest,
  HealthResponseSchema,
  type InjectedSecret,
  InjectSecretsResponseSchema,
  InstallIdentityResponseSchema,
  PrepareSuspendResponseSchema,
  RestartWorkloadResponseSchema,
  type SetClockRequest,
  SetClockResponseSchema,
  ShutdownResponseSchema,
  WorkloadState as WireState,
} from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { type ActivityParts, activityHandlers, toWireRun } from "./activity.ts";
import type { GuestClock } from "./clock.ts";
import type { CurrentIdentity } from "./current-identity.ts";
import { fail, invalid } from "./errors.ts";
import { exec } from "./exec.ts";
import type { IdentityRenewal } from "./identity-renewal.ts";
import type { Injected, InjectedSecrets } from "./injected-secrets.ts";
import type { Account } from "./running-command.ts";
import type { Sleep } from "./sleep.ts";
import { streamLogs } from "./stream-logs.ts";
import { toTimestamp } from "./timestamp.ts";
import { type Finished, parseTraceparent, type SpanContext, type Tracer } from "./tracer.ts";
import type { Workload, WorkloadState } from "./workload.ts";
import { PointerError } from "./workload-configuration.ts";

export type AgentParts = {
  readonly current: CurrentIdentity;
  readonly renewal: IdentityRenewal;
  readonly clock: GuestClock;
  readonly mixEntropy: (bytes: Uint8Array) => void;
  readonly workload: Workload;
  /** Whom Exec runs commands as. */
  readonly account: Account;
  readonly secrets: InjectedSecrets;
  readonly tracer: Tracer;
  readonly activity: ActivityParts;
  readonly sleep: Pick<Sleep, "isAsleep" | "isEmptied" | "prepare" | "complete">;
  /** Stops the workload and writes the disk. */
  readonly quiesce: () => Promise<void>;
  /** Ends the machine once the answer has left it. */
  readonly powerOff: () => void;
};

const maximumWaitMs = 10_000;
const maximumSecrets = 64;
const maximumSecretBytes = 65_536;
/** A new version has to be in use within 2 s, so a workload that is restarted for it has half of that to end. */
const restartGraceMs = 1_000;
const variableName = /^[A-Z][A-Z0-9_]{0,63}$/;
const jsonPointer = /^(\/[A-Za-z0-9_-]{1,64}){1,8}$/;
const secretName = /^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$/;

const wireStates: Readonly<Record<WorkloadState, WireState>> = {
  "waiting-for-secrets": WireState.WAITING_FOR_SECRETS,
  starting: WireState.STARTING,
  healthy: WireState.HEALTHY,
  unhealthy: WireState.UNHEALTHY,
  failed: WireState.FAILED,
};

function toWireSpan(span: Finished) {
  const { startMs, endMs, ...rest } = span;
  const startTime = toTimestamp(startMs);
  const endTime = toTimestamp(endMs);
  return create(FinishedSpanSchema, { ...rest, startTime, endTime });
}

/** The rules of the proto, by hand: the validation library would double what the agent loads. */
function checkedWaitMs(request: HealthRequest): number {
  const waitMs = request.wait === undefined ? 0 : durationMs(request.wait);
  if (!(waitMs >= 0 && waitMs <= maximumWaitMs)) throw invalid("wait", "must be 0 s to 10 s");
  if (!/^([0-9a-f]{32})?$/.test(request.traceId)) throw invalid("trace_id", "must be 32 hexadecimal digits");
  return waitMs;
}

const entropyBytes = 64;

function checkedClock(request: SetClockRequest): { hostMs: number; entropy: Uint8Array } {
  const { hostTime, entropy } = request;
  if (hostTime === undefined) throw invalid("host_time", "missing");
  if (entropy?.value.length !== entropyBytes) throw invalid("entropy", "must be 64 bytes");
  return { hostMs: timestampMs(hostTime), entropy: entropy.value };
}

function checkedSecrets(secrets: readonly InjectedSecret[]): readonly Injected[] {
  if (secrets.length > maximumSecrets) throw invalid("secrets", "at most 64");
  const seen = new Set<string>();
  return secrets.map((secret) => {
    const value = secret.value?.value ?? new Uint8Array(0);
    if (!secretName.test(secret.name)) throw invalid("secrets.name", "malformed");
    if (seen.has(secret.name)) throw invalid("secrets.name", "there twice");
    if (secret.version < 1) throw invalid("secrets.version", "must be at least 1");
    if (value.length < 1 || value.length > maximumSecretBytes)
      throw invalid("secrets.value", "must be 1 byte to 64 KiB");
    seen.add(secret.name);
    return { name: secret.name, value, target: checkedTarget(secret, value) };
  });
}

function checkedTarget({ target }: InjectedSecret, value: Uint8Array): Injected["target"] {
  if (target.case === undefined) return { kind: "file" };
  // A NUL would end the variable early, and bytes that are no text would become other bytes.
  if (!isUtf8(value) || value.includes(0)) throw invalid("secrets.value", "must be text without NUL");
  if (target.case === "environmentVariable") {
    if (!variableName.test(target.value)) throw invalid("secrets.environment_variable", "malformed");
    return { kind: "environment", variable: target.value };
  }
  if (!jsonPointer.test(target.value)) throw invalid("secrets.configuration_pointer", "malformed");
  return { kind: "configuration", pointer: target.value };
}

/** AgentService over the parts of this guest. */
export function agentHandlers(parts: AgentParts): ServiceImpl<typeof AgentService> {
  const { current, workload, tracer } = parts;
  const takeSecrets = async (secrets: readonly Injected[], parent: SpanContext | undefined): Promise<void> => {
    // They would be in the memory that is about to be saved.
    if (parts.sleep.isEmptied) throw fail("ASLEEP", "this generation's secrets were taken away for a suspend");
    const effect = await parts.secrets.replace(secrets).catch((error: unknown) => {
      if (error instanceof PointerError) throw invalid("secrets.configuration_pointer", error.message);
      throw error;
    });
    if (effect === "restart-needed") await workload.restart(restartGraceMs, parent);
    else workload.start(parent);
  };
  // Two injections at once must not mix their sets: each waits for the one before, whatever became of it.
  let injecting: Promise<unknown> = Promise.resolve();
  const takeClock = async (request: SetClockRequest): Promise<void> => {
    const { hostMs, entropy } = checkedClock(request);
    try {
      parts.mixEntropy(entropy);
    } finally {
      entropy.fill(0);
    }
    await parts.clock.setTo(hostMs);
  };
  return {
    async health(request, context) {
      const waitMs = checkedWaitMs(request);
      if (waitMs > 0) await workload.settled(waitMs, context.signal);
      return create(HealthResponseSchema, {
        vmId: current.value.vmId,
        generation: current.value.generation,
        workloadState: wireStates[workload.state],
        guestTime: toTimestamp(Date.now()),
        spans: request.traceId === "" ? [] : tracer.take(request.traceId).map(toWireSpan),
      });
    },
    async injectSecrets(request, context) {
      const secrets = checkedSecrets(request.secrets);
      const parent = parseTraceparent(context.requestHeader.get("traceparent"));
      const span = tracer.start("AgentService/InjectSecrets", parent);
      try {
        const context = span?.context ?? parseTraceparent(current.value.traceparent);
        const taken = injecting.then(() => takeSecrets(secrets, context));
        injecting = taken.catch(() => undefined);
        await taken;
      } catch (error) {
        span?.end({ failed: true });
        throw error;
      } finally {
        for (const secret of secrets) secret.value.fill(0);
      }
      span?.end();
      return create(InjectSecretsResponseSchema, { workloadState: wireStates[workload.state] });
    },
    async restartWorkload(_request, context) {
      const parent = parseTraceparent(context.requestHeader.get("traceparent"));
      const restarted = injecting.then(async () => {
        // It would begin without what it waits for, or without what a suspend took away.
        if (workload.state === "waiting-for-secrets" || parts.sleep.isAsleep)
          throw fail("WORKLOAD_NOT_STARTED", "the workload waits for its secrets");
        await workload.restart(restartGraceMs, parent);
      });
      injecting = restarted.catch(() => undefined);
      await restarted;
      return create(RestartWorkloadResponseSchema);
    },
    async shutdown() {
      await parts.quiesce();
      parts.powerOff();
      return create(ShutdownResponseSchema);
    },
    async setClock(request) {
      await takeClock(request);
      return create(SetClockResponseSchema, { guestTime: toTimestamp(Date.now()) });
    },
    async prepareSuspend({ diskOnly }) {
      // An injection that came in between would put back what this takes away.
      const prepared = injecting.then(() => parts.sleep.prepare({ diskOnly }));
      injecting = prepared.catch(() => undefined);
      await prepared;
      if (diskOnly) return create(PrepareSuspendResponseSchema);
      const { nextRuns } = parts.activity.jobs.read(Date.now());
      return create(PrepareSuspendResponseSchema, { schedule: { nextRuns: nextRuns.map(toWireRun) } });
    },
    async completeResume({ generation }) {
      await parts.sleep.complete(generation);
      return create(CompleteResumeResponseSchema);
    },
    async createIdentityKey({ generation, clock }) {
      if (clock === undefined) throw invalid("clock", "missing");
      await takeClock(clock);
      return create(CreateIdentityKeyResponseSchema, parts.renewal.createKey(generation));
    },
    async installIdentity(request) {
      parts.renewal.install(request);
      return create(InstallIdentityResponseSchema);
    },
    exec: exec(parts.account),
    streamLogs: streamLogs(workload.output),
    ...activityHandlers(parts.activity),
  };
}
