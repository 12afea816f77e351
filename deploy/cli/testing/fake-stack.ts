/** Every service of a stack in memory, as far as the commands use it: the proto's rules, gates, errors and wire form are real. */
import { createHash } from "node:crypto";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { allow } from "@lobsterd/chassis/access.ts";
import { defineErrors } from "@lobsterd/chassis/errors.ts";
import { defineRoutes, unimplemented } from "@lobsterd/chassis/routes.ts";
import { testHarness } from "@lobsterd/chassis/testing.ts";
import { AuditService, RecordOutcome, RecordPhase, RecordSchema } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { NetworkService } from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";
import { RouteService, RouteState } from "@lobsterd/proto/lobsterd/proxy/v1/proxy_pb.ts";
import { ClientService } from "@lobsterd/proto/lobsterd/secrets/v1/client_pb.ts";
import {
  type SecretMetadata,
  SecretMetadataSchema,
  SecretService,
} from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import {
  ControlVerdict,
  DrainedTenants,
  type HostControlSchema,
  type HostDrain,
  HostDrainSchema,
  HostService,
} from "@lobsterd/proto/lobsterd/vm/v1/host_pb.ts";
import {
  type Backup,
  BackupSchema,
  BackupWorkKind,
  type CreateBackupRequest,
  type DeleteBackupRequest,
  type ExecTenantRequest,
  type ExportBackupRequest,
  type ImportBackupRequest,
  type ListBackupsRequest,
  type RestoreBackupRequest,
  type Tenant,
  TenantResourcesSchema,
  TenantSchema,
  TenantService,
  TenantState,
  WorkloadHealth,
} from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { StackClients } from "../../client/clients.ts";
import { clientCertificateRoutes, type FakeClientCertificates } from "./fake-client-certificates.ts";

const fail = defineErrors("fake.lobsterd", {
  TENANT_NOT_FOUND: Code.NotFound,
  TENANT_EXISTS: Code.AlreadyExists,
  BACKUP_NOT_FOUND: Code.NotFound,
  BACKUP_BROKEN: Code.DataLoss,
  HOST_FULL: Code.ResourceExhausted,
  VM_AWAY: Code.Unavailable,
  BOOT_FAILED: Code.Internal,
});

/** A stack and what a test may change or look at. */
export interface FakeStack {
  readonly clients: StackClients;
  readonly tenants: Map<string, Tenant>;
  readonly backups: Map<string, Backup>;
  /** By `tenant/name`. */
  readonly secrets: Map<string, SecretMetadata>;
  readonly secretValues: Map<string, string>;
  /** Rows of CheckHost. */
  controls: MessageInitShape<typeof HostControlSchema>[];
  /** Of DrainHost. */
  drain: HostDrain | undefined;
  /** Lines of StreamTenantLogs. */
  logLines: string[];
  /** What SpawnTenant fails with. */
  spawnFailure: "HOST_FULL" | "VM_AWAY" | "BOOT_FAILED" | undefined;
  /** What ExecTenant got. */
  readonly execRequests: ExecTenantRequest["message"][];
  /** Holds on any tenant. */
  readonly holds: Set<string>;
  readonly clientCertificates: FakeClientCertificates;
  /** Records of the audit log. */
  recordCount: number;
}

type State = Omit<FakeStack, "clients">;

/** A stack whose caller has a role. */
export function fakeStack(role: "role:operator" | "role:viewer" = "role:operator"): FakeStack {
  const state: State = {
    ...{ tenants: new Map(), backups: new Map(), secrets: new Map(), secretValues: new Map() },
    ...{ logLines: [], spawnFailure: undefined, drain: undefined, execRequests: [], holds: new Set(), recordCount: 3 },
    clientCertificates: { requests: [], issued: [], revokedNames: new Set() },
    controls: [{ controlId: "HOST-01", verdict: ControlVerdict.PASS, required: true, measured: "on" }],
  };
  const clientRoutes = clientCertificateRoutes(state.clientCertificates);
  const routes = [
    ...vmRoutes(state),
    secretRoutes(state),
    clientRoutes,
    netRoutes(),
    proxyRoutes(),
    auditRoutes(state),
  ];
  const access = [
    everyMethod(TenantService, (name) => (/^(get|list|watch)/.test(name) ? people : operators)),
    everyMethod(HostService, (name) => (/^(get|check)/.test(name) ? people : operators)),
    everyMethod(SecretService, () => operators),
    everyMethod(ClientService, () => operators),
    everyMethod(NetworkService, () => people),
    everyMethod(RouteService, () => people),
    everyMethod(AuditService, () => people),
  ];
  const harness = testHarness({ routes, access });
  return Object.assign(state, {
    clients: {
      tenants: harness.as(role, TenantService),
      host: harness.as(role, HostService),
      net: harness.as(role, NetworkService),
      routes: harness.as(role, RouteService),
      secrets: harness.as(role, SecretService),
      clientCertificates: harness.as(role, ClientService),
      audit: harness.as(role, AuditService),
    },
  });
}

const operators = ["role:operator"] as const;
const people = ["role:operator", "role:viewer"] as const;

function everyMethod(
  service: Parameters<typeof allow>[0],
  row: (localName: string) => typeof operators | typeof people,
) {
  return allow(service, Object.fromEntries(service.methods.map(({ localName }) => [localName, row(localName)])));
}

/** A running tenant of that name. */
export function fakeTenant(
  name: string,
  more: Partial<Pick<Tenant, "image" | "labels" | "egress" | "resources" | "state" | "idlePolicy">> = {},
): Tenant {
  return create(TenantSchema, {
    ...{
      name,
      state: TenantState.RUNNING,
      hostId: "host-1",
      vmId: createHash("sha256").update(name).digest("hex").slice(0, 32),
      generation: 1,
    },
    ...{ image: "base", resources: { vcpuCount: 1, memoryMib: 256, diskMib: 512 } },
    url: `https://${name}.lobsterd.localhost/`,
    createTime: timestampFromMs(1_700_000_000_000),
    ...more,
  });
}

const hostFacts = { hostId: "host-1", vmm: "qemu 7.2.22", accelerator: "tcg", slotCount: 64, queuedBoots: 2 };

function vmRoutes(state: State) {
  const find = (name: string) => {
    const tenant = state.tenants.get(name);
    if (tenant === undefined) throw fail("TENANT_NOT_FOUND", `there is no tenant ${name}`);
    return tenant;
  };
  const tenantRoutes = defineRoutes(TenantService, {
    spawnTenant({ name, image, labels, egress, resources, idlePolicy }) {
      if (state.spawnFailure !== undefined) throw fail(state.spawnFailure, `no spawn: ${state.spawnFailure}`);
      if (state.tenants.has(name)) throw fail("TENANT_EXISTS", `tenant ${name} exists`);
      const given = {
        image: image || "base",
        labels,
        ...(egress && { egress }),
        ...(resources && { resources }),
        ...(idlePolicy && { idlePolicy }),
      };
      const tenant = fakeTenant(name, given);
      state.tenants.set(name, tenant);
      return { tenant };
    },
    getTenant: ({ name }) => ({
      tenant: find(name),
      holdCount: state.holds.size,
      activity: { awakeBy: ["hold"], lastActiveTime: timestampFromMs(1_700_000_000_000) },
      health: { agentAnswers: true, workload: WorkloadHealth.HEALTHY },
    }),
    // One tenant a page, so that every list is read page by page.
    listTenants({ page }) {
      const all = [...state.tenants.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
      const index = Number(page?.pageToken || 0);
      const nextPageToken = index + 1 < all.length ? String(index + 1) : "";
      return { tenants: all.slice(index, index + 1), page: { nextPageToken } };
    },
    async *watchTenants({ startRevision }) {
      yield { revision: startRevision + 1n, tenant: fakeTenant("demo") };
      yield { revision: startRevision + 2n, tenant: fakeTenant("demo"), removed: true };
    },
    updateTenantEgress({ name, egress }) {
      const tenant = find(name);
      if (egress !== undefined) tenant.egress = egress;
      return { tenant };
    },
    updateTenant({ name, egress, networkLimits, labels, resources }) {
      const tenant = find(name);
      if (egress !== undefined) tenant.egress = egress;
      if (networkLimits !== undefined) tenant.networkLimits = networkLimits;
      if (labels !== undefined) tenant.labels = labels.labels;
      if (resources === undefined) return { tenant };
      tenant.nextResources = create(TenantResourcesSchema, {
        vcpuCount: resources.vcpuCount ?? 1,
        memoryMib: resources.memoryMib ?? 256,
      });
      return { tenant, pendingFields: ["resources"] };
    },
    evictTenant({ name }) {
      find(name);
      state.tenants.delete(name);
      return {};
    },
    suspendTenant({ name }) {
      find(name).state = TenantState.SUSPENDED;
      return { tenant: find(name) };
    },
    resumeTenant: unimplemented,
    wakeTenant: unimplemented,
    repairTenant({ name }) {
      const tenant = find(name);
      const isFailed = tenant.state === TenantState.FAILED;
      const check = (passed: boolean) => ({ name: "vm.process", passed, detail: passed ? "running" : "exited" });
      const repairs = isFailed ? [{ action: "boot-guest", succeeded: false, reason: "BOOT_FAILED" }] : [];
      return { before: [check(!isFailed)], after: [check(!isFailed)], repairs, tenant };
    },
    async *execTenant(requests) {
      for await (const { message } of requests) {
        state.execRequests.push(message);
        if (message.case === "start") find(message.value.name);
        if (message.case === "stdin") yield { message: { case: "stdout", value: message.value } };
        if (message.case !== "stdinEnd") continue;
        yield { message: { case: "stderr", value: Buffer.from("done\n") } };
        yield { message: { case: "exitCode", value: 7 } };
        return;
      }
    },
    async *streamTenantLogs({ name, tailLines }) {
      find(name);
      for (const line of state.logLines.slice(-tailLines)) yield { time: timestampFromMs(1_700_000_000_000), line };
    },
    acquireHold({ name, duration, holdId }) {
      find(name);
      const id = holdId || "d".repeat(32);
      state.holds.add(id);
      return { holdId: id, expireTime: timestampFromMs(1_700_000_000_000 + Number(duration?.seconds) * 1000) };
    },
    releaseHold({ name, holdId }) {
      find(name);
      state.holds.delete(holdId);
      return {};
    },
    ...backupHandlers(state, find),
  });
  const hostRoutes = defineRoutes(HostService, {
    // Each look finds one tenant less.
    getHost() {
      if (state.drain !== undefined && state.drain.activeCount > 0) state.drain.activeCount -= 1;
      if (state.drain !== undefined) state.drain.done = state.drain.activeCount === 0;
      return { host: { ...hostFacts, ...(state.drain && { drain: state.drain }) } };
    },
    drainHost({ tenants, reason }) {
      const done = tenants === DrainedTenants.KEEP;
      state.drain = create(HostDrainSchema, { tenants, reason, activeCount: 2, done });
      return { drain: state.drain };
    },
    undrainHost() {
      state.drain = undefined;
      return {};
    },
    checkHost: () => ({ controls: state.controls }),
  });
  return [tenantRoutes, hostRoutes];
}

/** A backup's file is ten times its id. */
const contentOf = ({ backupId }: Backup) => Buffer.from(backupId.repeat(10));

function backupHandlers(state: State, find: (name: string) => Tenant) {
  const findBackup = (backupId: string) => {
    const backup = state.backups.get(backupId);
    if (backup === undefined) throw fail("BACKUP_NOT_FOUND", `there is no backup ${backupId}`);
    return backup;
  };
  return {
    createBackup({ name }: CreateBackupRequest) {
      const tenant = find(name).name;
      const backupId = createHash("sha256").update(`${state.backups.size}`).digest("hex").slice(0, 32);
      const facts = { backupId, tenant, generation: 1, diskMib: 64, sizeBytes: 320n };
      const backup = create(BackupSchema, { ...facts, createTime: timestampFromMs(1_700_000_000_000) });
      state.backups.set(backupId, backup);
      return { backup };
    },
    listBackups: ({ name }: ListBackupsRequest) => ({
      backups: [...state.backups.values()].filter(({ tenant }) => tenant === find(name).name).reverse(),
      work: [{ kind: BackupWorkKind.CREATE, doneBytes: 1_048_576n, totalBytes: 67_108_864n }],
    }),
    restoreBackup({ name, backupId }: RestoreBackupRequest) {
      findBackup(backupId);
      const tenant = fakeTenant(name);
      state.tenants.set(name, tenant);
      return { tenant };
    },
    deleteBackup({ backupId }: DeleteBackupRequest) {
      findBackup(backupId);
      state.backups.delete(backupId);
      return {};
    },
    async *exportBackup({ backupId }: ExportBackupRequest) {
      const backup = findBackup(backupId);
      yield { message: { case: "backup" as const, value: backup } };
      for (let at = 0; at < 320; at += 100)
        yield { message: { case: "content" as const, value: contentOf(backup).subarray(at, at + 100) } };
    },
    async importBackup(requests: AsyncIterable<ImportBackupRequest>) {
      const content: Uint8Array[] = [];
      for await (const { message } of requests) if (message.case === "content") content.push(message.value);
      const backup = findBackup(Buffer.concat(content).toString().slice(0, 32));
      if (!Buffer.concat(content).equals(contentOf(backup))) throw fail("BACKUP_BROKEN", "the file is not whole");
      return { backup };
    },
  };
}

function secretRoutes(state: State) {
  return defineRoutes(SecretService, {
    putSecret({ tenant, name, value }) {
      const key = `${tenant}/${name}`;
      const version = (state.secrets.get(key)?.version ?? 0) + 1;
      const secret = create(SecretMetadataSchema, { tenant, name, version });
      state.secrets.set(key, secret);
      state.secretValues.set(key, Buffer.from(value?.value ?? []).toString("utf8"));
      return { secret };
    },
    listSecrets: ({ tenant }) => ({
      secrets: [...state.secrets.values()].filter((secret) => secret.tenant === tenant),
      page: {},
    }),
    deleteSecret({ tenant, name }) {
      state.secrets.delete(`${tenant}/${name}`);
      return {};
    },
    bindSecret({ tenant, name, target, label }) {
      const secret = create(SecretMetadataSchema, { tenant, name, version: 1, ...(target && { target }) });
      if (label !== undefined) secret.label = label;
      state.secrets.set(`${tenant}/${name}`, secret);
      return { secret };
    },
    issueGatewayToken: ({ tenant }) => ({ token: { value: Buffer.from(`lobsterd-test-token-of-${tenant}`) } }),
    ...{ acquireInjectionLease: unimplemented, injectSecrets: unimplemented, issueGuestIdentity: unimplemented },
    ...{ renewGuestIdentity: unimplemented, createDataKey: unimplemented, unwrapDataKey: unimplemented },
    ...{ shredTenant: unimplemented, rotateRootKey: unimplemented },
  });
}

function netRoutes() {
  let receivedBytes = 0n;
  return defineRoutes(NetworkService, {
    getNetworkUsage() {
      receivedBytes += 2048n;
      return {
        receivedBytes,
        sentBytes: 10n,
        trackedConnections: 3,
        droppedPackets: { "denied-range": 4n, spoofed: 1n },
      };
    },
    ...{ attachNetwork: unimplemented, detachNetwork: unimplemented, getNetwork: unimplemented },
    ...{ repairNetwork: unimplemented, updateNetworkLimits: unimplemented },
    ...{ listNetworks: unimplemented, updateNetworkEgress: unimplemented, getNetworkCapacity: unimplemented },
  });
}

function proxyRoutes() {
  return defineRoutes(RouteService, {
    listRoutes: () => ({
      routes: [
        {
          tenant: "demo",
          hostName: "demo.lobsterd.localhost",
          guestAddress: "10.0.0.1",
          generation: 2,
          state: RouteState.AWAKE,
        },
      ],
      page: {},
    }),
    ...{ publishRoute: unimplemented, withdrawRoute: unimplemented, getRoute: unimplemented },
  });
}

function auditRoutes(state: State) {
  const record = (sequence: number) =>
    create(RecordSchema, {
      sequence: BigInt(sequence),
      writer: "spiffe://test/svc/vm",
      draft: {
        ...{ action: "SpawnTenant", tenant: "demo", phase: RecordPhase.OUTCOME, outcome: RecordOutcome.SUCCESS },
        ...{ actor: "spiffe://test/client/operator", time: timestampFromMs(1_700_000_000_000 + sequence) },
      },
    });
  return defineRoutes(AuditService, {
    // Two records a page.
    queryRecords({ page, tenant }) {
      const first = Number(page?.pageToken || 0);
      const all = Array.from({ length: state.recordCount }, (_, index) => record(index));
      const found = all.filter(({ draft }) => tenant === "" || draft?.tenant === tenant);
      const nextPageToken = first + 2 < found.length ? String(first + 2) : "";
      return { records: found.slice(first, first + 2), page: { nextPageToken } };
    },
    getLatestOwnRecord: unimplemented,
    async *tailRecords({ startSequence }) {
      for (let sequence = Number(startSequence); sequence < state.recordCount; sequence += 1)
        yield { record: record(sequence) };
    },
    async *exportRecords({ startOffset }) {
      yield { part: { case: "log", value: Buffer.from("0123456789").subarray(Number(startOffset)) } };
      yield { part: { case: "signedNote", value: "origin\n10\nroot\n" } };
    },
    getCheckpoint: () => ({ signedNote: "origin\n3\nroot\n\n\u2014 origin signature\n" }),
    ...{ appendRecord: unimplemented, getInclusionProof: unimplemented, getConsistencyProof: unimplemented },
  });
}
