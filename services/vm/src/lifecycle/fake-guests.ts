/** The agents of the guests that run on a VMM in memory, and their workloads. */
import { create } from "@bufbuild/protobuf";
import {
  ExecResponseSchema,
  type FinishedSpan,
  StreamLogsResponseSchema,
  WorkloadState,
} from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { fail } from "../errors.ts";
import type { GuestAgents } from "../guest/agent.ts";
import type { GuestActivity } from "../guest/agent-activity.ts";
import { toScheduledRuns } from "../schedules/runs.ts";
import type { FakeVmm } from "../vmm/fake.ts";
import { type AskedFailures, failAsAsked } from "./fake-failures.ts";
import type { FakeNet } from "./fake-net.ts";

export interface FakeGuests {
  /** What the agent of each VM proves, and whether it was quiesced and not woken since. */
  readonly guests: Map<string, { generation: number; isQuiesced: boolean }>;
  /** What each VM's agent says of its workload: HEALTHY if it is not here, silent if it is undefined. A boot takes it away. */
  readonly workloads: Map<string, WorkloadState | undefined>;
  /** What each VM's guest claims of what it does; nothing goes on where nothing is said. */
  readonly claims: Map<string, Partial<GuestActivity>>;
  /** VM ids whose guests took a renewed identity, in order. */
  readonly renewed: string[];
}

/** The workload of a guest without a network cannot be asked after. */
export function fakeGuestAgents(
  state: FakeGuests & Pick<FakeNet, "networks"> & AskedFailures,
  vmm: FakeVmm,
): GuestAgents {
  const { guests, workloads, claims, renewed, networks, failing } = state;
  const { attempt } = failAsAsked(state);
  const isSilent = (vmId: string) => workloads.has(vmId) && workloads.get(vmId) === undefined;
  return {
    awaitAgent: async ({ vmId, generation }, limitMs, signal) => {
      // Throws unless they are whole milliseconds, as it does for the real one.
      AbortSignal.timeout(limitMs);
      signal.throwIfAborted();
      if (isSilent(vmId)) throw fail("BOOT_FAILED", "it does not answer");
      if (!vmm.opensDisk(vmId)) throw fail("BOOT_FAILED", "its disk does not open");
      guests.set(vmId, { generation, isQuiesced: false });
      if (failing.has("awaitAgent")) throw fail("BOOT_FAILED", "told to fail: awaitAgent");
    },
    awaitWorkload: async ({ vmId }): Promise<readonly FinishedSpan[]> => {
      attempt("awaitWorkload");
      const state = workloads.get(vmId);
      if (state === WorkloadState.UNHEALTHY || state === WorkloadState.FAILED)
        throw fail("WORKLOAD_FAILED", "it does not become healthy");
      workloads.delete(vmId);
      return [];
    },
    finishedSpans: async () => [],
    workloadState: async ({ vmId }) => {
      if (failing.has("workloadState") || !networks.has(vmId)) return undefined;
      return workloads.has(vmId) ? workloads.get(vmId) : WorkloadState.HEALTHY;
    },
    activity: async ({ vmId }) => {
      attempt("activity");
      return { inboundConnections: 0, holds: 0, runningJobs: 0, nextRuns: [], ...claims.get(vmId) };
    },
    restartWorkload: async ({ vmId }) => {
      if (failing.has("restartWorkload")) throw fail("GUEST_UNREACHABLE", "told to fail");
      workloads.delete(vmId);
    },
    streamLogs: async function* (_tenant, { source, tailLines }) {
      attempt("streamLogs");
      for (const line of [`source ${source} tail ${tailLines}`, "\u001b[31mred\u001b[0m"]) {
        yield create(StreamLogsResponseSchema, { time: { seconds: 1n, nanos: -1 }, line });
      }
    },
    exec: async function* (_tenant, { command = [], terminal, terminalType }, input) {
      attempt("exec");
      const size = terminal === undefined ? "" : ` on ${terminalType} ${terminal.columns}x${terminal.rows}`;
      const words = Buffer.from(`${command.join(" ")}${size}`);
      yield create(ExecResponseSchema, { message: { case: "stdout", value: words } });
      for await (const message of input) {
        const { columns, rows } = message.case === "resize" ? message.value : { columns: 0, rows: 0 };
        const value = message.case === "stdin" ? message.value : Buffer.from(`${columns}x${rows}`);
        yield create(ExecResponseSchema, { message: { case: "stderr", value } });
      }
      yield create(ExecResponseSchema, { message: { case: "exitCode", value: 7 } });
    },
    tokenDigest: () => new Uint8Array(32),
    renewIdentity: async (tenant, certify) => {
      attempt("renewIdentity");
      await certify({ publicKey: new Uint8Array(91), proof: new Uint8Array(64) });
      renewed.push(tenant.vmId);
    },
    prepareSuspend: async ({ vmId }) => {
      const guest = guests.get(vmId);
      if (guest === undefined || !vmm.guestRuns(vmId)) throw fail("GUEST_UNREACHABLE", "no guest runs");
      guest.isQuiesced = true;
      attempt("prepareSuspend");
      return toScheduledRuns(claims.get(vmId)?.nextRuns ?? []);
    },
    quiesceDisk: async ({ vmId }) => {
      const guest = guests.get(vmId);
      if (guest === undefined || !vmm.guestRuns(vmId)) throw fail("GUEST_UNREACHABLE", "no guest runs");
      guest.isQuiesced = true;
      attempt("quiesceDisk");
    },
    releaseDisk: async ({ vmId, generation }) => {
      const guest = guests.get(vmId);
      if (guest?.generation !== generation || !vmm.guestRuns(vmId)) throw fail("GUEST_UNREACHABLE", "no guest runs");
      guest.isQuiesced = false;
      attempt("releaseDisk");
    },
    takeGeneration: async ({ vmId, generation }, generations, certify) => {
      const guest = guests.get(vmId);
      if (guest === undefined || !vmm.guestRuns(vmId) || !generations.includes(guest.generation))
        throw fail("GUEST_UNREACHABLE", "no guest proves one of these generations");
      if (failing.has("takeGeneration")) throw fail("GUEST_UNREACHABLE", "told to fail");
      await certify({ publicKey: new Uint8Array(91), proof: new Uint8Array(64) });
      guest.generation = generation;
    },
    completeResume: async ({ vmId, generation }) => {
      const guest = guests.get(vmId);
      if (guest?.generation !== generation) throw fail("GUEST_UNREACHABLE", "it is of another generation");
      guest.isQuiesced = false;
      if (failing.has("completeResume")) throw fail("GUEST_UNREACHABLE", "told to fail");
    },
    forget: () => undefined,
    close: () => undefined,
  };
}
