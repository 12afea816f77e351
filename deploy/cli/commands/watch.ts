import { WatchTenantsResponseSchema } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { Command } from "../command.ts";
import { exitStatus } from "../failure.ts";
import { printable } from "../printable.ts";
import { showInStream } from "../show.ts";
import { stateText } from "../tenant-text.ts";

export const watch: Command = {
  name: "watch",
  summary: "show the tenants there are, then every change",
  operands: [],
  options: { after: { value: "REVISION", help: "go on after this revision instead of beginning with all tenants" } },
  notes: "Each line begins with the revision. With --json each change is one line.",
  async run(words, context) {
    const startRevision = BigInt(words.count("after", Number.MAX_SAFE_INTEGER) ?? 0);
    const { signal } = context;
    for await (const change of context.clients.tenants.watchTenants({ startRevision }, { signal })) {
      const { revision, tenant, removed } = change;
      const state = removed ? "removed" : stateText(tenant?.state ?? 0);
      await showInStream(
        context,
        WatchTenantsResponseSchema,
        change,
        () => `${String(revision).padStart(8)}  ${state.padEnd(10)}  ${printable(tenant?.name ?? "")}\n`,
      );
    }
    return exitStatus.ok;
  },
};
