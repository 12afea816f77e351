import { create } from "@bufbuild/protobuf";
import type { HandlerContext } from "@connectrpc/connect";
import { TerminalSizeSchema } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import {
  type ExecTenantRequest,
  type ExecTenantResponse,
  ExecTenantResponseSchema,
  type ExecTenantStart,
  type TerminalSize,
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
    const { name, command, terminal, terminalType } = startOf(await messages.next());
    const tenant = runningTenant(tenants, name);
    const start = terminal === undefined ? { command } : { command, terminal: toGuest(terminal), terminalType };
    const input = inputOf(messages, terminal !== undefined);
    const output = holds.during(tenant.vmId, guests.exec(tenant, start, input, signal));
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
  return message.value;
}

/** What goes to the command. The input of pipes ends with `stdin_end`, or when the caller has nothing more to send. */
async function* inputOf(
  messages: AsyncIterator<ExecTenantRequest>,
  hasTerminal: boolean,
): AsyncGenerator<CommandInput> {
  for (let next = await messages.next(); next.done !== true; next = await messages.next()) {
    const { message } = next.value;
    if (message.case === "stdin") yield { case: "stdin", value: message.value };
    else if (message.case === "resize" && hasTerminal) yield { case: "resize", value: toGuest(message.value) };
    else if (message.case !== "stdinEnd") {
      throw fail("EXEC_NOT_STARTED", "after start there is only stdin, and resize for a terminal");
    } else if (!hasTerminal) return;
  }
}

/** The same size in the agent's contract. */
function toGuest({ columns, rows }: TerminalSize) {
  return create(TerminalSizeSchema, { columns, rows });
}
