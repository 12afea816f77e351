import { create } from "@bufbuild/protobuf";
import type { HandlerContext } from "@connectrpc/connect";
import { ownerOf } from "@lobsterd/chassis/owners.ts";
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
    { signal, values }: Pick<HandlerContext, "signal" | "values">,
  ): AsyncGenerator<WatchTenantsResponse> {
    const owner = ownerOf({ values });
    let revision = startRevision;
    while (!signal.aborted) {
      const head = changes.revision();
      const found = changes.after(revision, owner);
      if (found === undefined) {
        // What changes during the snapshot is sent after it.
        revision = changes.revision();
        yield* snapshot(context, owner);
        yield create(WatchTenantsResponseSchema, { revision, snapshotEnd: true });
        continue;
      }
      for (const change of found) {
        revision = change.revision;
        const named = tenants.find(change.name);
        // A name that has another owner by now is gone for the one before.
        const tenant = owner === undefined || named?.owner === owner ? named : undefined;
        yield create(
          WatchTenantsResponseSchema,
          tenant === undefined
            ? { revision, tenant: { name: change.name }, removed: true }
            : { revision, tenant: toTenantMessage(tenant, config) },
        );
      }
      // What happened to tenants that this caller may not see is passed over.
      if (found.length === 0) revision = head;
      if (changes.revision() === revision) await changes.changed(signal);
    }
  };
}

function* snapshot({ config, tenants }: WatchContext, owner: string | undefined): Generator<WatchTenantsResponse> {
  for (let afterName = ""; ; ) {
    const page = tenants.page(afterName, pageSize, owner);
    for (const tenant of page) yield create(WatchTenantsResponseSchema, { tenant: toTenantMessage(tenant, config) });
    const last = page.at(-1);
    if (last === undefined) return;
    afterName = last.name;
  }
}
