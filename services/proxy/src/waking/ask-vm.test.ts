import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Code, ConnectError, createClient, createRouterTransport } from "@connectrpc/connect";
import { defineErrors, toConnectError } from "@lobsterd/chassis/errors.ts";
import { TenantService, WakeCause, type WakeTenantRequest } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { askVmBy } from "./ask-vm.ts";
import type { WakeVerdict } from "./wake.ts";

const fail = defineErrors("vm.lobsterd", {
  WAKE_HOST_BUDGET: Code.ResourceExhausted,
  WAKE_TENANT_BUDGET: Code.ResourceExhausted,
  BOOT_QUEUE_FULL: Code.ResourceExhausted,
  STATE_BROKEN: Code.DataLoss,
  TENANT_BUSY: Code.Aborted,
  RESUME_INCOMPLETE: Code.Unavailable,
});

/** A `vm` that does as `wake` says. */
function openVm(wake: (request: WakeTenantRequest) => void) {
  const transport = createRouterTransport(({ rpc }) => {
    rpc(TenantService.method.wakeTenant, (request) => {
      wake(request);
      return {};
    });
  });
  const ask = askVmBy(createClient(TenantService, transport), 5000);
  return () => ask("demo", "a".repeat(32), new AbortController().signal);
}

const refused = (scope: "tenant" | "host", retryAfterS: number, reason: string): WakeVerdict => ({
  ...{ kind: "refused", scope, retryAfterS, reason },
});
const unknown = (reason: string): WakeVerdict => ({ kind: "unknown", reason });

describe("a question to vm", () => {
  it("names the tenant, its microVM and the cause, each time under a new request id", async () => {
    const seen: WakeTenantRequest[] = [];
    const ask = openVm((request) => void seen.push(request));
    assert.deepEqual([await ask(), await ask()], [{ kind: "awake" }, { kind: "awake" }]);
    const [first, second] = seen;
    assert.deepEqual([first?.name, first?.vmId, first?.cause], ["demo", "a".repeat(32), WakeCause.REQUEST]);
    assert.notEqual(first?.requestId, second?.requestId);
  });

  const told = (retry_after_s: string) => ({ metadata: { retry_after_s } });
  for (const [what, error, verdict] of [
    ["the host's budget", fail("WAKE_HOST_BUDGET", "", told("5")), refused("host", 5, "WAKE_HOST_BUDGET")],
    ["the tenant's budget", fail("WAKE_TENANT_BUDGET", "", told("900")), refused("tenant", 900, "WAKE_TENANT_BUDGET")],
    ["a full queue of boots", fail("BOOT_QUEUE_FULL", ""), refused("host", 5, "BOOT_QUEUE_FULL")],
    ["a state that is broken", fail("STATE_BROKEN", ""), refused("tenant", 30, "STATE_BROKEN")],
    [
      "a time that is no number",
      fail("WAKE_TENANT_BUDGET", "", told("soon")),
      refused("tenant", 30, "WAKE_TENANT_BUDGET"),
    ],
    [
      "a time without an end",
      fail("WAKE_TENANT_BUDGET", "", told("99999999")),
      refused("tenant", 3600, "WAKE_TENANT_BUDGET"),
    ],
    ["a tenant that others keep busy", fail("TENANT_BUSY", ""), unknown("TENANT_BUSY")],
    ["a resume that goes on", fail("RESUME_INCOMPLETE", ""), unknown("RESUME_INCOMPLETE")],
    ["a vm that is away", new ConnectError("away", Code.Unavailable), unknown("UNAVAILABLE")],
    ["a vm that says no more", new ConnectError("late", Code.DeadlineExceeded), unknown("DEADLINE_EXCEEDED")],
  ] as const) {
    it(`takes ${what} for ${verdict.kind}`, async () => {
      const ask = openVm(() => {
        throw error instanceof ConnectError ? error : toConnectError(error);
      });
      assert.deepEqual(await ask(), verdict);
    });
  }
});
