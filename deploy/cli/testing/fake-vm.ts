import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { defineErrors } from "@lobsterd/chassis/errors.ts";
import { defineRoutes, type Routes, unimplemented } from "@lobsterd/chassis/routes.ts";
import {
  DrainedTenants,
  type HostControlSchema,
  type HostDrain,
  HostDrainSchema,
  HostService,
} from "@lobsterd/proto/lobsterd/vm/v1/host_pb.ts";
import {
  type ExecTenantRequest,
  TenantResourcesSchema,
  TenantService,
  TenantState,
  WorkloadHealth,
} from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { backupHandlers, type FakeBackups } from "./fake-backups.ts";
import { fakeTenant } from "./fake-tenant.ts";

const fail = defineErrors("fake.lobsterd", {
  TENANT_NOT_FOUND: Code.NotFound,
  TENANT_EXISTS: Code.AlreadyExists,
  HOST_FULL: Code.ResourceExhausted,
  VM_AWAY: Code.Unavailable,
  BOOT_FAILED: Code.Internal,
});

/** What `vm` has, and what it is to say. */
export interface FakeVm extends FakeBackups {
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
}

const hostFacts = { hostId: "host-1", vmm: "qemu 7.2.22", accelerator: "tcg", slotCount: 64, queuedBoots: 2 };

export function vmRoutes(state: FakeVm): readonly Routes[] {
  const find = (name: string) => {
    const tenant = state.tenants.get(name);
    if (tenant === undefined) throw fail("TENANT_NOT_FOUND", `there is no tenant ${name}`);
    return tenant;
  };
  const tenantRoutes = defineRoutes(TenantService, {
    spawnTenant({ name, image, labels, egress, networkLimits, extraHostNames, resources, idlePolicy }) {
      if (state.spawnFailure !== undefined) throw fail(state.spawnFailure, `no spawn: ${state.spawnFailure}`);
      if (state.tenants.has(name)) throw fail("TENANT_EXISTS", `tenant ${name} exists`);
      const given = {
        image: image || "base",
        labels,
        extraHostNames,
        ...(egress && { egress }),
        ...(networkLimits && { networkLimits }),
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
