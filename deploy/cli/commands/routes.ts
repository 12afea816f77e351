import { create } from "@bufbuild/protobuf";
import { ListRoutesResponseSchema, type Route, RouteStateSchema } from "@lobsterd/proto/lobsterd/proxy/v1/proxy_pb.ts";
import type { Command } from "../command.ts";
import { exitStatus } from "../failure.ts";
import { allOf } from "../pages.ts";
import { enumText, momentText, show } from "../show.ts";
import { type Column, renderTable } from "../table.ts";

const columns: ReadonlyArray<Column<Route>> = [
  { heading: "TENANT", cell: ({ tenant }) => tenant },
  { heading: "NAME", cell: ({ hostName }) => hostName },
  { heading: "ALSO", cell: ({ extraHostNames }) => extraHostNames.join(" ") },
  { heading: "STATE", cell: ({ state }) => enumText(RouteStateSchema, state) },
  { heading: "GUEST", cell: ({ guestAddress }) => guestAddress },
  { heading: "GEN", cell: ({ generation }) => String(generation), isRight: true },
  { heading: "PUBLISHED", cell: ({ publishTime }) => momentText(publishTime) },
];

export const routes: Command = {
  name: "routes",
  summary: "list the names in front and the guests that they lead to",
  operands: [],
  options: {},
  async run(_words, context) {
    const list = await allOf(
      (page) => context.clients.routes.listRoutes({ page }, { signal: context.signal }),
      (answer) => answer.routes,
    );
    const answer = create(ListRoutesResponseSchema, { routes: list });
    await show(context, ListRoutesResponseSchema, answer, () => renderTable(columns, list));
    return exitStatus.ok;
  },
};
