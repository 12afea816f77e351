import { randomUUID } from "node:crypto";
import { inSpan } from "@lobsterd/chassis/tracing.ts";
import { RouteState } from "@lobsterd/proto/lobsterd/proxy/v1/proxy_pb.ts";
import { tidyBackups } from "../backups/retention.ts";
import type { TenantPhase, TenantRecord } from "../store/tenant-record.ts";
import { convergeEgress, reattachNetwork } from "./egress.ts";
import { finishInterrupted } from "./interrupted.ts";
import type { Lifecycle } from "./lifecycle.ts";
import { settlers } from "./settle.ts";
import { sweepSleepFiles } from "./settle-sleep.ts";
import { publishTenantRoute, putRouteToSleep } from "./tenant-route.ts";
import { convergeLimits } from "./update.ts";

/** Rows of a page, and the most pages read: a peer that lies about its size must not keep the reconciler busy for ever. */
const pageSize = 500;
const maxPages = 100;

/**
 * Makes the host match the store: finishes what was interrupted, removes what belongs to no tenant, and gives running tenants
 * back what they miss. Start-up and the timer call the same function; a second run in a row changes nothing. What cannot be
 * done now holds up nothing else: it is logged and left to the next run, and so is the whole part of a peer that is down.
 */
export async function reconcile(life: Lifecycle, isSpawning: (name: string) => boolean): Promise<void> {
  for (const operation of life.journal.open()) {
    const { tenant } = operation;
    // Whoever removes it already says what became of it.
    if (isSpawning(tenant.name) || life.isRemoving(tenant.vmId)) continue;
    const settle = settlers[operation.kind];
    if (settle !== undefined) {
      if (life.turns.isBusy(tenant.vmId)) continue;
      await guarded(life, `settle-${operation.kind}`, tenant.vmId, () => settle(life, operation));
      continue;
    }
    life.logger.info({ tenant: tenant.name, vmId: tenant.vmId }, "removing what an interrupted operation left");
    await finishInterrupted(life, operation);
  }
  const parts = [reconcileMicroVms, reconcileNetworks, reconcileRoutes, sweepSleepFiles, tidyBackups];
  const results = await Promise.allSettled(parts.map((part) => part(life)));
  for (const result of results) {
    if (result.status === "rejected")
      life.logger.warn({ err: result.reason }, "a part of the host could not be compared");
  }
}

/** A VM id of a tenant that is there or is being made is not a stray. Read after the host was listed, so that no new one is missed. */
function isKnown(life: Lifecycle, vmId: string): boolean {
  return life.tenants.findByVm(vmId) !== undefined;
}

function settledTenants(life: Lifecycle, wanted: TenantPhase = "running"): readonly TenantRecord[] {
  return life.tenants.all().filter(({ phase, vmId }) => phase === wanted && life.journal.find(vmId) === undefined);
}

/** A tenant whose microVM ended is the watchdog's. */
async function reconcileMicroVms(life: Lifecycle): Promise<void> {
  const actual = await life.parts.vmm.list();
  for (const { vmId } of actual.filter((vm) => !isKnown(life, vm.vmId))) {
    life.logger.warn({ vmId }, "removing a microVM that belongs to no tenant");
    await attempt(life, "remove-stray-microvm", vmId, () => life.parts.vmm.remove(vmId));
  }
}

async function reconcileNetworks(life: Lifecycle): Promise<void> {
  const expected = settledTenants(life);
  const actual = await everyPage(async (pageToken) => {
    const { networks, page } = await life.parts.net.listNetworks({ page: { pageSize, pageToken } });
    return { rows: networks, next: page?.nextPageToken ?? "" };
  });
  for (const { vmId } of actual.filter((network) => !isKnown(life, network.vmId))) {
    life.logger.warn({ vmId }, "detaching a network that belongs to no tenant");
    await attempt(life, "detach-stray-network", vmId, () =>
      life.parts.net.detachNetwork({ requestId: randomUUID(), vmId }),
    );
  }
  const attached = new Set(actual.map(({ vmId }) => vmId));
  for (const tenant of expected.filter(({ vmId }) => !attached.has(vmId)))
    await guarded(life, "reattach-network", tenant.vmId, () => restoreNetwork(life, tenant));
  for (const network of actual) await guarded(life, "update-egress", network.vmId, () => convergeEgress(life, network));
  for (const { vmId } of expected.filter(({ areLimitsPending }) => areLimitsPending))
    await guarded(life, "update-limits", vmId, () => convergeLimits(life, vmId));
}

async function reconcileRoutes(life: Lifecycle): Promise<void> {
  const expected = [...settledTenants(life), ...settledTenants(life, "suspended")];
  const actual = await everyPage(async (pageToken) => {
    const { routes, page } = await life.parts.proxy.listRoutes({ page: { pageSize, pageToken } });
    return { rows: routes, next: page?.nextPageToken ?? "" };
  });
  for (const { tenant, vmId } of actual.filter((route) => !isKnown(life, route.vmId))) {
    life.logger.warn({ vmId }, "withdrawing a route that belongs to no tenant");
    await attempt(life, "withdraw-stray-route", vmId, () =>
      life.parts.proxy.withdrawRoute({ requestId: randomUUID(), tenant, vmId }),
    );
  }
  const published = new Map(
    actual.map(({ vmId, state, extraHostNames }) => [vmId, [state === RouteState.ASLEEP, ...extraHostNames].join()]),
  );
  const wrong = expected.filter(
    ({ vmId, phase, extraHostNames }) => published.get(vmId) !== [phase === "suspended", ...extraHostNames].join(),
  );
  for (const tenant of wrong) {
    const { phase, vmId } = tenant;
    if (life.tenants.findByVm(vmId)?.phase !== phase) continue;
    // What changes meanwhile is under a later generation, and `proxy` goes back to none.
    await attempt(life, "republish-route", vmId, () =>
      phase === "suspended" ? putRouteToSleep(life.parts, tenant) : restoreRoute(life, tenant),
    );
  }
}

/** Gives a running tenant the network back that it misses, under its own policy. Safe to repeat. */
export async function restoreNetwork(life: Lifecycle, tenant: TenantRecord): Promise<void> {
  const { vmId } = tenant;
  if (!(await reattachNetwork(life, vmId))) return;
  const { network } = await life.parts.net.getNetwork({ vmId });
  if (network !== undefined) await convergeEgress(life, network);
  life.events.tenantRepaired(tenant, "reattach-network");
}

/** Makes a running tenant's names lead to its guest again. Safe to repeat. */
export async function restoreRoute(life: Lifecycle, tenant: TenantRecord): Promise<void> {
  await publishTenantRoute(life.parts, tenant);
  life.events.tenantRepaired(tenant, "publish-route");
}

/** One repair in a span of its own. What fails is seen there and in the log, and comes again with the next run. */
async function attempt(life: Lifecycle, name: string, vmId: string, run: () => Promise<unknown>): Promise<void> {
  await guarded(life, name, vmId, () => inSpan(name, { "lobsterd.vm_id": vmId }, run));
}

/** The same for what makes its own span, and only when it has something to do. */
async function guarded(life: Lifecycle, name: string, vmId: string, run: () => Promise<unknown>): Promise<void> {
  try {
    await run();
  } catch (error) {
    life.logger.warn({ err: error, vmId, repair: name }, "a part of the host could not be repaired");
  }
}

async function everyPage<T>(read: (pageToken: string) => Promise<{ rows: readonly T[]; next: string }>): Promise<T[]> {
  const all: T[] = [];
  let token = "";
  for (let page = 0; page < maxPages; page++) {
    const { rows, next } = await read(token);
    all.push(...rows);
    if (next === "") return all;
    token = next;
  }
  throw new Error(`a list did not end after ${maxPages} pages`);
}
