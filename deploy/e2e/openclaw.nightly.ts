import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, test } from "node:test";
import { Code, ConnectError } from "@connectrpc/connect";
import { ask, clients, evict } from "./subject.ts";

const tenant = "openclaw";
/** Emulated, the real gateway takes four minutes to be ready on a quiet machine. */
const limitMs = 840_000;

after(() => evict(tenant));

/** A call lasts four minutes at most; the same request again waits for the same spawn. */
async function spawnPatiently(): Promise<void> {
  const request = {
    ...{ requestId: randomUUID(), name: tenant, image: "openclaw-emulated" },
    resources: { vcpuCount: 2, memoryMib: 2048, diskMib: 1024 },
  };
  const deadline = performance.now() + limitMs;
  for (;;) {
    try {
      await clients.tenants.spawnTenant(request);
      return;
    } catch (error) {
      if (ConnectError.from(error).code !== Code.DeadlineExceeded || performance.now() > deadline) throw error;
    }
  }
}

test("the real OpenClaw gateway is ready behind its URL and takes its tenant's token and no other", async (t) => {
  const { host } = await clients.host.getHost({});
  if (host?.images.includes("openclaw-emulated") !== true) return t.skip("not built: make image-openclaw");
  await spawnPatiently();
  const ready = await ask(tenant, { path: "/readyz" });
  assert.equal(ready.status, 200, ready.body);
  const { token } = await clients.secrets.issueGatewayToken({ requestId: randomUUID(), tenant });
  const own = Buffer.from(token?.value ?? []).toString("utf8");
  for (const [bearer, status] of [
    [own, 200],
    [`${own}x`, 401],
  ] as const) {
    const answer = await ask(tenant, {
      method: "POST",
      path: "/tools/invoke",
      timeoutMs: 60_000,
      headers: { authorization: `Bearer ${bearer}`, "content-type": "application/json" },
      body: JSON.stringify({ tool: "sessions_list", args: {} }),
    });
    assert.equal(answer.status, status, answer.body);
  }
});
