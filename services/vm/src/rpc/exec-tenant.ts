import { create } from "@bufbuild/protobuf";
import type { HandlerContext } from "@connectrpc/connect";
import {
  type ExecTenantRequest,
  type ExecTenantResponse,
  ExecTenantResponseSchema,
  type ExecTenantStart,
} from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { fail } from "../errors.ts";
import type { CommandInput } from "../guest/agent.ts";
import { misbehaved } from "../guest/contract.ts";
import type { VmContext } from "../service.ts";
import { runningTenant } from "./running-tenant.ts";

/**
 * Both directions are taken as the other side takes them, so neither a slow caller nor a slow command costs memory here. Output is bytes that a
 * hostile guest chose: whoever shows them decides how.
 */
export function execTenant({ tenants, guests, holds }: Pick<VmContext, "tenants" | "guests" | "holds">) {
  return async function* (
    requests: AsyncIterable<ExecTenantRequest>,
    { signal }: Pick<HandlerContext, "signal">,
  ): AsyncGenerator<ExecTenantResponse> {
    const messages = requests[Symbol.asyncIterator]();
    const { name, command } = startOf(await messages.next());
    const tenant = runningTenant(tenants, name);
    const output = holds.during(tenant.vmId, guests.exec(tenant, command, inputOf(messages), signal));
    for await (const { message } of output) {
      if (message.case === undefined) throw misbehaved();
      yield create(ExecTenantResponseSchema, { message });
      if (message.case === "exitCode") return;
    }
    throw misbehaved();
  };
}

function startOf(first: IteratorResult<ExecTenantRequest>): ExecTenantStart {
  const message = first.done === true ? undefined : first.value.message;
  if (message?.case !== "start") throw fail("EXEC_NOT_STARTED", "the first message has to be start");
  if (message.value.terminal !== undefined) {
    throw fail("TERMINAL_NOT_OFFERED", "a command has pipes: leave terminal out");
  }
  return message.value;
}

/** What goes to the command. Its input ends with `stdin_end`, or when the caller has nothing more to send. */
async function* inputOf(messages: AsyncIterator<ExecTenantRequest>): AsyncGenerator<CommandInput> {
  for (let next = await messages.next(); next.done !== true; next = await messages.next()) {
    const { message } = next.value;
    if (message.case === "stdin") yield { case: "stdin", value: message.value };
    else if (message.case === "stdinEnd") return;
    else throw fail("EXEC_NOT_STARTED", "after start there is only stdin, and resize for a terminal");
  }
}
