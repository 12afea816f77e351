/** A host that exists in memory, for the unit tests of the lifecycle: it remembers what exists, and can be told to fail. */

import { randomBytes } from "node:crypto";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient, createRouterTransport } from "@connectrpc/connect";
import type { AuditEntry } from "@lobsterd/chassis/audit.ts";
import { recordDraft } from "@lobsterd/chassis/audit-record.ts";
import { defineErrors, type ServiceError, toConnectError } from "@lobsterd/chassis/errors.ts";
import {
  ExecResponseSchema,
  type FinishedSpan,
  StreamLogsResponseSchema,
  WorkloadState,
} from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { GetLatestOwnRecordResponseSchema } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import type { EgressPolicy, NetworkLimits } from "@lobsterd/proto/lobsterd/common/v1/network_pb.ts";
import {
  AttachNetworkResponseSchema,
  DetachNetworkResponseSchema,
  GetNetworkUsageResponseSchema,
  ListNetworksResponseSchema,
  NetworkSchema,
  NetworkService,
  UpdateNetworkEgressResponseSchema,
} from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";
import {
  ListRoutesResponseSchema,
  PublishRouteResponseSchema,
  RouteService,
  RouteState,
  WithdrawRouteResponseSchema,
} from "@lobsterd/proto/lobsterd/proxy/v1/proxy_pb.ts";
import {
  AcquireInjectionLeaseResponseSchema,
  CreateDataKeyResponseSchema,
  InjectSecretsResponseSchema,
  IssueGuestIdentityResponseSchema,
  RenewGuestIdentityResponseSchema,
  SecretService,
  ShredTenantResponseSchema,
  UnwrapDataKeyResponseSchema,
} from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import { fail } from "../errors.ts";
import type { GuestActivity } from "../guest/agent-activity.ts";
import { toScheduledRuns } from "../schedules/runs.ts";
import { createFakeVmm, type FakeVmm, type FakeVmmOptions } from "../vmm/fake.ts";
import { vmmFail } from "../vmm/port.ts";
import { failingVmm, hostDirectory } from "./fake-sleep.ts";
import type { HostParts } from "./host-parts.ts";
import { openSleepFiles, type SleepFiles } from "./sleep-files.ts";

/** What can be made to fail: the name of an RPC or of a wait. */
export type Failure =
  | "attachNetwork"
  | "detachNetwork"
  | "updateNetworkEgress"
  | "updateNetworkLimits"
  | "publishRoute"
  | "sleepRoute"
  | "withdrawRoute"
  | "issueGuestIdentity"
  | "injectSecrets"
  | "shredTenant"
  | "renewGuestIdentity"
  | "renewIdentity"
  | "createDataKey"
  | "unwrapDataKey"
  | "getLatestOwnRecord"
  | "prepareSuspend"
  | "quiesceDisk"
  | "releaseDisk"
  | "pause"
  | "unpause"
  | "readDisk"
  | "writeDisk"
  | "replaceDisk"
  | "takeGeneration"
  | "completeResume"
  | "save"
  | "stop"
  | "load"
  | "resume"
  | "awaitAgent"
  | "awaitWorkload"
  | "workloadState"
  | "getNetworkUsage"
  | "activity"
  | "restartWorkload"
  | "getNetwork"
  | "listMicroVms"
  | "streamLogs"
  | "exec";

/** A network as it was asked for. */
export interface FakeNetwork {
  readonly slot: number;
  readonly egress?: EgressPolicy | undefined;
  readonly limits?: NetworkLimits | undefined;
}

/** A route as it was asked for. */
export interface FakeRoute {
  readonly vmId: string;
  readonly generation: number;
  readonly state: RouteState;
  readonly extraHostNames: readonly string[];
}

export interface FakeHost {
  readonly parts: HostParts;
  readonly vmm: FakeVmm;
  /** A directory of sealed files and one of spooled states, on a tmpfs. */
  readonly directory: string;
  readonly files: SleepFiles;
  readonly facts: { cpuModel: string; microcode: string; hostKernel: string };
  /** What the agent of each VM proves, and whether it was quiesced and not woken since. */
  readonly guests: Map<string, { generation: number; isQuiesced: boolean }>;
  /** What each VM's agent says of its workload: HEALTHY if it is not here, silent if it is undefined. A boot takes it away. */
  readonly workloads: Map<string, WorkloadState | undefined>;
  /** What `net` will find changed and repair when it is asked. */
  readonly drifts: { kind: string; object: string }[];
  readonly networks: Map<string, FakeNetwork>;
  /** What `net` counts of each VM's connections, and what its guest claims; nothing goes on where nothing is said. */
  readonly usage: Map<string, MessageInitShape<typeof GetNetworkUsageResponseSchema>>;
  readonly claims: Map<string, Partial<GuestActivity>>;
  /** By tenant. */
  readonly routes: Map<string, FakeRoute>;
  /** What audit was told, in order. It outlives the runs, and is not put back with a store. */
  readonly audited: AuditEntry[];
  /** VM ids with an identity. */
  readonly identities: Set<string>;
  /** Tenants that have a key. */
  readonly keys: Set<string>;
  /** VM ids whose guests took a renewed identity, in order. */
  readonly renewed: readonly string[];
  /** Fails these from now on. */
  readonly failing: Set<Failure>;
  /** Refuses these from now on, before any effect. */
  readonly refusing: Map<Failure, ServiceError>;
  /** Waits for these, before any effect. */
  readonly holding: Map<Failure, Promise<void>>;
  /** VM ids whose network and route cannot be taken away. */
  readonly stubborn: Set<string>;
  /** Everything that exists, as sorted lines. Empty: nothing is left. */
  inventory(): Promise<readonly string[]>;
}

/** What `net` and `proxy` say of what is not there. */
const missing = defineErrors("fake.lobsterd", { NETWORK_NOT_FOUND: Code.NotFound, ROUTE_NOT_FOUND: Code.NotFound });

export interface FakeHostOptions extends FakeVmmOptions {
  readonly connectionMax?: number;
}

export function createFakeHost(options: FakeHostOptions = {}): FakeHost {
  const networks = new Map<string, FakeNetwork>();
  const usage: FakeHost["usage"] = new Map();
  const claims: FakeHost["claims"] = new Map();
  const routes = new Map<string, FakeRoute>();
  const audited: AuditEntry[] = [];
  const identities = new Set<string>();
  const keys = new Set<string>();
  const renewed: string[] = [];
  const failing = new Set<Failure>();
  const refusing = new Map<Failure, ServiceError>();
  const holding = new Map<Failure, Promise<void>>();
  const stubborn = new Set<string>();
  const requireWilling = (vmId: string) => {
    if (stubborn.has(vmId)) throw new Error(`told to fail for ${vmId}`);
  };
  const isSilent = (vmId: string) => workloads.has(vmId) && workloads.get(vmId) === undefined;
  const vmm = createFakeVmm(options);
  const guests: FakeHost["guests"] = new Map();
  const workloads: FakeHost["workloads"] = new Map();
  const drifts: FakeHost["drifts"] = [];
  const dataKeys = new Map<string, { readonly tenant: string; readonly object: string; readonly key: Buffer }>();
  const directory = hostDirectory();
  const attempt = (what: Failure) => {
    if (failing.has(what)) throw new Error(`told to fail: ${what}`);
  };
  const admit = (what: Failure) => {
    const refusal = refusing.get(what);
    if (refusal !== undefined) throw toConnectError(refusal);
  };
  const transport = createRouterTransport(({ service }) => {
    service(NetworkService, {
      attachNetwork: ({ vmId, slot, egress, limits }) => {
        admit("attachNetwork");
        // As net does: what a microVM has it keeps, under the policy that it has by now.
        if (!networks.has(vmId)) networks.set(vmId, { slot, egress, limits });
        attempt("attachNetwork");
        return create(AttachNetworkResponseSchema, {
          network: { vmId, slot, guestAddress: `10.201.0.${2 * slot + 1}`, resolverAddresses: ["45.0.0.53"] },
        });
      },
      detachNetwork: ({ vmId }) => {
        attempt("detachNetwork");
        requireWilling(vmId);
        networks.delete(vmId);
        return create(DetachNetworkResponseSchema);
      },
      updateNetworkEgress: async ({ vmId, egress }) => {
        await holding.get("updateNetworkEgress");
        admit("updateNetworkEgress");
        const network = networks.get(vmId);
        if (network === undefined) throw new ConnectError("no network", Code.NotFound);
        networks.set(vmId, { ...network, egress });
        attempt("updateNetworkEgress");
        return create(UpdateNetworkEgressResponseSchema);
      },
      getNetworkUsage: ({ vmId }) => {
        attempt("getNetworkUsage");
        return create(GetNetworkUsageResponseSchema, usage.get(vmId));
      },
      updateNetworkLimits: ({ vmId, limits }) => {
        const network = networks.get(vmId);
        if (network === undefined) throw toConnectError(missing("NETWORK_NOT_FOUND", "no network"));
        networks.set(vmId, { ...network, limits });
        attempt("updateNetworkLimits");
        return {};
      },
      getNetwork: ({ vmId }) => {
        attempt("getNetwork");
        const network = networks.get(vmId);
        if (network === undefined) throw toConnectError(missing("NETWORK_NOT_FOUND", "no network"));
        const { slot, egress, limits } = network;
        return { network: create(NetworkSchema, { vmId, slot, ...(egress && { egress }), ...(limits && { limits }) }) };
      },
      repairNetwork: ({ vmId }) => {
        if (!networks.has(vmId)) throw toConnectError(missing("NETWORK_NOT_FOUND", "no network"));
        return { drifts: drifts.splice(0) };
      },
      listNetworks: () =>
        create(ListNetworksResponseSchema, {
          networks: [...networks].map(([vmId, { slot, egress, limits }]) =>
            create(NetworkSchema, { vmId, slot, ...(egress && { egress }), ...(limits && { limits }) }),
          ),
        }),
    });
    service(RouteService, {
      publishRoute: ({ tenant, vmId, generation, state, extraHostNames }) => {
        const what = state === RouteState.ASLEEP ? "sleepRoute" : "publishRoute";
        admit(what);
        // As `proxy` has it: a generation is awake, then asleep, and then there is a later one.
        const before = routes.get(tenant) ?? { generation: 0, state: RouteState.AWAKE };
        const isBack = generation === before.generation && state < before.state;
        if (generation < before.generation || isBack) throw new ConnectError("stale", Code.FailedPrecondition);
        routes.set(tenant, { vmId, generation, state, extraHostNames });
        attempt(what);
        return create(PublishRouteResponseSchema);
      },
      withdrawRoute: ({ tenant, vmId }) => {
        attempt("withdrawRoute");
        requireWilling(vmId);
        if (routes.get(tenant)?.vmId === vmId) routes.delete(tenant);
        return create(WithdrawRouteResponseSchema);
      },
      getRoute: ({ tenant }) => {
        const route = routes.get(tenant);
        if (route === undefined) throw toConnectError(missing("ROUTE_NOT_FOUND", "no route"));
        return { route: { tenant, ...route, extraHostNames: [...route.extraHostNames] } };
      },
      listRoutes: () =>
        create(ListRoutesResponseSchema, {
          routes: [...routes].map(([tenant, { vmId, generation, state, extraHostNames }]) => ({
            ...{ tenant, vmId, generation, state },
            extraHostNames: [...extraHostNames],
          })),
        }),
    });
    service(SecretService, {
      issueGuestIdentity: ({ tenant, vmId }) => {
        identities.add(vmId);
        keys.add(tenant);
        attempt("issueGuestIdentity");
        return create(IssueGuestIdentityResponseSchema, {
          certificatePem: "certificate",
          privateKeyPem: { value: Buffer.from("key") },
          platformCaPem: "authority",
        });
      },
      createDataKey: ({ tenant, purpose, objectId }) => {
        keys.add(tenant);
        attempt("createDataKey");
        const key = randomBytes(32);
        const wrappedKey = randomBytes(16);
        dataKeys.set(wrappedKey.toString("hex"), { tenant, object: `${purpose}/${objectId}`, key });
        return create(CreateDataKeyResponseSchema, { plaintextKey: { value: key }, wrappedKey, keyId: "key-1" });
      },
      unwrapDataKey: ({ tenant, purpose, objectId, wrappedKey }) => {
        attempt("unwrapDataKey");
        const made = dataKeys.get(Buffer.from(wrappedKey).toString("hex"));
        if (made === undefined || made.tenant !== tenant || made.object !== `${purpose}/${objectId}`)
          throw new ConnectError("sealed by another key", Code.DataLoss);
        return create(UnwrapDataKeyResponseSchema, { plaintextKey: { value: made.key } });
      },
      acquireInjectionLease: () => create(AcquireInjectionLeaseResponseSchema),
      renewGuestIdentity: () => {
        attempt("renewGuestIdentity");
        return create(RenewGuestIdentityResponseSchema, {
          certificatePem: "certificate",
          platformCaPem: "authority",
          expireTime: timestampFromMs(Date.now() + 3_600_000),
          agentTokenDigest: new Uint8Array(32),
        });
      },
      injectSecrets: () => {
        attempt("injectSecrets");
        return create(InjectSecretsResponseSchema);
      },
      // Nobody here has a secret of their own, so a key is unused when its only microVM is gone.
      shredTenant: ({ tenant, vmId, withUnusedKey }) => {
        attempt("shredTenant");
        const isKeyOver = vmId === "" || withUnusedKey;
        if (isKeyOver) keys.delete(tenant);
        for (const [wrapped, made] of dataKeys) if (isKeyOver && made.tenant === tenant) dataKeys.delete(wrapped);
        if (vmId === "") identities.clear();
        else identities.delete(vmId);
        return create(ShredTenantResponseSchema);
      },
    });
  });
  const parts: HostParts = {
    vmm: {
      ...failingVmm(vmm, attempt),
      start: async (order) => {
        workloads.delete(order.vmId);
        return await vmm.start(order);
      },
      list: async () => {
        if (failing.has("listMicroVms")) throw vmmFail("UNAVAILABLE", "told to fail");
        return await vmm.list();
      },
    },
    readConnectionMax: async () => options.connectionMax,
    net: createClient(NetworkService, transport),
    proxy: createClient(RouteService, transport),
    secrets: createClient(SecretService, transport),
    audit: {
      getLatestOwnRecord: async ({ tenant, action }) => {
        attempt("getLatestOwnRecord");
        const entry = audited.findLast((known) => known.tenant === tenant && known.action === action);
        return create(GetLatestOwnRecordResponseSchema, entry && { record: { draft: recordDraft(entry, "") } });
      },
    },
    guests: {
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
    },
  };
  return {
    ...{ parts, vmm, directory, guests, workloads, drifts },
    files: openSleepFiles(join(directory, "sealed"), join(directory, "spool")),
    facts: { cpuModel: "cpu", microcode: "0x1", hostKernel: "6.1" },
    networks,
    ...{ usage, claims },
    routes,
    audited,
    identities,
    keys,
    renewed,
    failing,
    refusing,
    holding,
    stubborn,
    inventory: async () =>
      [
        ...[...networks.keys()].map((vmId) => `network ${vmId}`),
        ...[...routes].map(([tenant, { state }]) => `${state === RouteState.ASLEEP ? "asleep-" : ""}route ${tenant}`),
        ...[...identities].map((vmId) => `identity ${vmId}`),
        ...(await vmm.list()).map(({ vmId }) => `microvm ${vmId}`),
        ...["sealed", "spool", "backups"]
          .filter((name) => existsSync(join(directory, name)))
          .flatMap((name) => readdirSync(join(directory, name)).map((file) => `${name} ${file}`)),
      ].sort(),
  };
}
