import { randomUUID } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { DrainedTenants, DrainHostResponseSchema, type HostDrain } from "@lobsterd/proto/lobsterd/vm/v1/host_pb.ts";
import type { Command, Context } from "../command.ts";
import { drainText } from "../drain-text.ts";
import { exitStatus } from "../failure.ts";
import { requestIdOption } from "../operands.ts";
import { show } from "../show.ts";

const pollMs = 2_000;

export const hostDrain: Command = {
  name: "host drain",
  summary: "take the host out of use: no new tenants, and those it has are suspended",
  operands: [],
  options: {
    "keep-tenants": { help: "only refuse new tenants; those that there are go on" },
    reason: { value: "TEXT", help: "what for, shown to whoever asks" },
    "no-wait": { help: "do not wait until every tenant is suspended" },
    "request-id": requestIdOption,
  },
  notes:
    "The drain goes on when this command is interrupted, and lasts until `lobster host undrain`. No tenant is evicted.",
  async run(words, context) {
    const requestId = words.text("request-id") ?? randomUUID();
    const tenants = words.has("keep-tenants") ? DrainedTenants.KEEP : DrainedTenants.SUSPEND;
    const request = { requestId, tenants, reason: words.text("reason") ?? "" };
    const begun = (await context.clients.host.drainHost(request, { signal: context.signal })).drain;
    const drain = words.has("no-wait") ? begun : await untilDone(context, begun);
    const answer = create(DrainHostResponseSchema, drain === undefined ? {} : { drain });
    await show(context, DrainHostResponseSchema, answer, () => `${drainText(drain)}\n`);
    return exitStatus.ok;
  },
};

/** What it waits for is shown on a terminal, whenever it changes. A drain that somebody ends meanwhile is waited for no more. */
async function untilDone({ clients, clock, io, signal }: Context, begun: HostDrain | undefined) {
  let drain = begun;
  let shown = "";
  while (drain?.done === false) {
    const text = drainText(drain);
    if (io.errors.isTerminal && text !== shown) await io.errors.write(`${text}\n`);
    shown = text;
    await clock.sleep(pollMs, signal);
    drain = (await clients.host.getHost({}, { signal })).host?.drain;
  }
  return drain;
}
