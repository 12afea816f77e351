import assert from "node:assert/strict";
import { test } from "node:test";
import { TenantState } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { Context } from "./command.ts";
import { showSpawnProgress, waitsFor } from "./spawn-progress.ts";
import { fakeStack, fakeTenant } from "./testing/fake-stack.ts";
import { runCommand } from "./testing/run-command.ts";

test("what a spawn waits for follows what the services have recorded", () => {
  const spawning = { state: TenantState.SPAWNING, queuedBoots: 2 };
  const cases = [
    waitsFor({ state: undefined, queuedBoots: 2, actions: new Set() }),
    waitsFor({ ...spawning, actions: new Set(["SpawnTenant"]) }),
    waitsFor({ ...spawning, actions: new Set(["IssueGuestIdentity"]) }),
    waitsFor({ ...spawning, queuedBoots: 0, actions: new Set(["IssueGuestIdentity"]) }),
    waitsFor({ ...spawning, actions: new Set(["IssueGuestIdentity", "InjectSecrets"]) }),
  ];
  assert.deepEqual(cases, [
    "admission",
    "its network and its identity",
    "a core: 2 boots are queued",
    "the guest to boot",
    "the workload to be healthy and its route to work",
  ]);
});

/** A context whose errors go to a terminal; resolves `shown` with the first line that matches. */
function terminalContext(pattern: RegExp) {
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
    signal: new AbortController().signal,
    clock: { now: () => 0, sleep: () => new Promise((resolve) => setImmediate(resolve)) },
  };
  return { context, lines, shown: shown.promise };
}

test("a terminal shows what the spawn waits for while it lasts, and is clean afterwards", async () => {
  const { context, lines, shown } = terminalContext(/waits for its network and its identity/);
  const names = { name: "demo", requestId: "018f3a52-6b1e-7c70-9c39-0f6d6a1b2c01" };
  assert.match(await showSpawnProgress(context, names, () => shown), /spawning demo, 0 s/);
  assert.equal(lines.at(-1), "\r\x1b[K");
});

test("without a terminal, and with --json, nothing is shown but the answer", async () => {
  assert.equal((await runCommand(["spawn", "mia"])).stderr, "");
  assert.equal((await runCommand(["spawn", "mia", "--json"], { isTerminal: true })).stderr, "");
});
