import { fail } from "../errors.ts";
import type { TenantPhase, TenantRecord } from "../store/tenant-record.ts";

/** Throws TENANT_NOT_FOUND, TENANT_BUSY while something is done to the tenant, or that it is not in this phase. */
export function requirePhase(
  tenant: TenantRecord | undefined,
  name: string,
  wanted: "running" | "suspended",
): TenantRecord {
  const metadata = { tenant: name };
  if (tenant === undefined) throw fail("TENANT_NOT_FOUND", `there is no tenant ${name}`, { metadata });
  if (tenant.phase === wanted) return tenant;
  const known = { tenant: name, state: tenant.phase };
  if (underWay.has(tenant.phase)) throw fail("TENANT_BUSY", `tenant ${name} is ${tenant.phase}`, { metadata: known });
  const reason = wanted === "running" ? "TENANT_NOT_RUNNING" : "TENANT_NOT_SUSPENDED";
  throw fail(reason, `tenant ${name} is ${tenant.phase}, not ${wanted}`, { metadata: known });
}

const underWay: ReadonlySet<TenantPhase> = new Set(["spawning", "evicting", "suspending", "resuming"]);

/** `signal`, and `overdue` as the reason of its abort after `limitMs`. */
export function limited(signal: AbortSignal, limitMs: number, overdue: Error): AbortSignal {
  const limit = new AbortController();
  AbortSignal.timeout(limitMs).addEventListener("abort", () => limit.abort(overdue));
  return AbortSignal.any([signal, limit.signal]);
}
