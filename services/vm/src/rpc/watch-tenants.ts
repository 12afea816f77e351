import { create } from "@bufbuild/protobuf";
import type { HandlerContext } from "@connectrpc/connect";
import {
  type WatchTenantsRequest,
  type WatchTenantsResponse,
  WatchTenantsResponseSchema,
} from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { VmContext } from "../service.ts";
import { toTenantMessage } from "../tenant-message.ts";

type WatchContext = Pick<VmContext, "config" | "tenants" | "changes">;

const pageSize = 100;

/** A tenant is read when its message leaves, so whoever reads slowly gets fewer messages and nothing that is out of date. */
export function watchTenants(context: WatchContext) {
  const { config, tenants, changes } = context;
  return async function* (
    { startRevision }: Pick<WatchTenantsRequest, "startRevision">,
    { signal }: Pick<HandlerContext, "signal">,
  ): AsyncGenerator<WatchTenantsResponse> {
    let revision = startRevision;
    while (!signal.aborted) {
      const found = changes.after(revision);
      if (found === undefined) {
        // What changes during the snapshot is sent after it.
        revision = changes.revision();
        yield* snapshot(context);
        yield create(WatchTenantsResponseSchema, { revision, snapshotEnd: true });
        continue;
      }
      for (const change of found) {
        revision = change.revision;
        const tenant = tenants.find(change.name);
        yield create(
          WatchTenantsResponseSchema,
          tenant === undefined
            ? { revision, tenant: { name: change.name }, removed: true }
            : { revision, tenant: toTenantMessage(tenant, config) },
        );
      }
      if (changes.revision() === revision) await changes.changed(signal);
    }
  };
}

function* snapshot({ config, tenants }: WatchContext): Generator<WatchTenantsResponse> {
  for (let afterName = ""; ; ) {
    const page = tenants.page(afterName, pageSize);
    for (const tenant of page) yield create(WatchTenantsResponseSchema, { tenant: toTenantMessage(tenant, config) });
    const last = page.at(-1);
    if (last === undefined) return;
    afterName = last.name;
  }
}
