import type { DatabaseSync } from "node:sqlite";
import { openRequestLog } from "@lobsterd/chassis/idempotency.ts";
import { fakeAuditSink, testHarness } from "@lobsterd/chassis/testing.ts";
import { access } from "../access.ts";
import { createAuditPolicy } from "../audit-policy.ts";
import type { FakeHost } from "../lifecycle/fake-host.ts";
import { config, type startRun } from "../lifecycle/fake-run.ts";
import { createRoutes } from "../routes.ts";
import { openTenantChanges } from "../store/tenant-changes.ts";

/** `vm`'s RPCs over one run of its lifecycle, for unit tests: what is called and what audit is told. Without a `spool` of its own that is in `records` too. */
export function serveRun(
  host: FakeHost,
  database: DatabaseSync,
  run: ReturnType<typeof startRun>,
  spool?: ReturnType<typeof fakeAuditSink>,
) {
  const { files, parts } = host;
  const { vmm, guests } = parts;
  const shared = { config, requests: openRequestLog(database), changes: openTenantChanges(database) };
  const records = fakeAuditSink();
  const harness = testHarness({
    ...{ service: "vm", access, routes: createRoutes({ ...run, ...shared, files, vmm, guests }) },
    audit: createAuditPolicy(records, spool ?? records),
  });
  return { harness, records };
}
