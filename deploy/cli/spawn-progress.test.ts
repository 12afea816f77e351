import assert from "node:assert/strict";
import { test } from "node:test";
import { TenantState } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { showSpawnProgress, waitsFor } from "./spawn-progress.ts";
import { runCommand } from "./testing/run-command.ts";
import { terminalContext } from "./testing/terminal-context.ts";

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
