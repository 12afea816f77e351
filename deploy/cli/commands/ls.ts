import { create } from "@bufbuild/protobuf";
import { ListTenantsResponseSchema } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { Command } from "../command.ts";
import { exitStatus } from "../failure.ts";
import { allOf } from "../pages.ts";
import { show } from "../show.ts";
import { renderTable } from "../table.ts";
import { tenantColumns } from "../tenant-text.ts";

export const ls: Command = {
  name: "ls",
  summary: "list tenants in the order of their names",
  operands: [],
  options: { quiet: { short: "q", help: "names only, one a line" } },
  async run(words, context) {
    const { signal } = context;
    const tenants = await allOf(
      (page) => context.clients.tenants.listTenants({ page }, { signal }),
      (answer) => answer.tenants,
    );
    const text = () =>
      words.has("quiet") ? tenants.map(({ name }) => `${name}\n`).join("") : renderTable(tenantColumns, tenants);
    await show(context, ListTenantsResponseSchema, create(ListTenantsResponseSchema, { tenants }), text);
    return exitStatus.ok;
  },
};
