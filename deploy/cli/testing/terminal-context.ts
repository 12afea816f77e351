import { TenantState } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { Context } from "../command.ts";
import { fakeStack } from "./fake-stack.ts";
import { fakeTenant } from "./fake-tenant.ts";

/** A context whose errors go to a terminal; resolves `shown` with the first line that matches. */
export function terminalContext(pattern: RegExp) {
  const shown = Promise.withResolvers<string>();
  const lines: string[] = [];
  const output = (isTerminal: boolean) => ({
    ...{ isTerminal, size: () => ({ columns: 80, rows: 24 }), onResize: () => () => undefined },
    async write(data: string | Uint8Array) {
      lines.push(String(data));
      if (pattern.test(String(data))) shown.resolve(String(data));
    },
  });
  const stack = fakeStack();
  stack.tenants.set("demo", fakeTenant("demo", { state: TenantState.SPAWNING }));
  const context: Context = {
    clients: stack.clients,
    io: {
      input: { isTerminal: true, async *chunks() {}, makeRaw: () => () => undefined },
      ...{ output: output(true), errors: output(true) },
    },
    wantsJson: false,
    environment: {},
    signal: new AbortController().signal,
    clock: { now: () => 0, sleep: () => new Promise((resolve) => setImmediate(resolve)) },
  };
  return { context, lines, shown: shown.promise };
}
