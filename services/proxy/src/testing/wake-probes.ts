/** What must hold for tenants that sleep, with real Caddy and the real service; `vm` is a stand-in that does as each probe says. */

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { Code } from "@connectrpc/connect";
import { defineErrors } from "@lobsterd/chassis/errors.ts";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { RouteState } from "@lobsterd/proto/lobsterd/proxy/v1/proxy_pb.ts";
import { askTogether } from "./h2-client.ts";
import { ask, echo, keptAgent, openWebSocket } from "./https-client.ts";
import { addresses, assertRefused, hostOf } from "./probes.ts";
import { patience } from "./scene.ts";
import { type ServiceStage, vmIdOf } from "./stages.ts";
import { startWaker } from "./waker.ts";

const fail = defineErrors("vm.lobsterd", {
  WAKE_HOST_BUDGET: Code.ResourceExhausted,
  WAKE_TENANT_BUDGET: Code.ResourceExhausted,
  RESUME_FAILED: Code.Internal,
});

let generation = 100;

/** What `vm` publishes for a tenant that it suspended, or woke. */
export async function publishAs(
  { routes }: ServiceStage,
  tenant: string,
  state: "awake" | "asleep",
  extraHostNames: readonly string[] = [],
): Promise<void> {
  if (state === "awake") generation += 1;
  await routes.publishRoute({
    ...{ requestId: randomUUID(), tenant, vmId: vmIdOf(tenant), generation, extraHostNames: [...extraHostNames] },
    ...(state === "asleep"
      ? { state: RouteState.ASLEEP }
      : { state: RouteState.AWAKE, guestAddress: addresses[tenant] ?? "10.201.1.1" }),
  });
}

/** Puts a tenant that was awake to sleep. */
export async function lull(stage: ServiceStage, tenant: string, extraHostNames: readonly string[] = []): Promise<void> {
  await publishAs(stage, tenant, "awake", extraHostNames);
  await publishAs(stage, tenant, "asleep", extraHostNames);
}

export async function aHundredRequestsAreOneWake(stage: ServiceStage): Promise<void> {
  const go = Promise.withResolvers<void>();
  await using waker = disposable(
    await startWaker(stage.paths, async ({ name }) => {
      await go.promise;
      await publishAs(stage, name, "awake");
    }),
  );
  await lull(stage, "alpha");
  const requests = Array.from({ length: 100 }, (_, index) =>
    index % 2 === 0
      ? { method: "GET", path: `/${index}?query=${index}`, body: "" }
      : { method: "POST", path: `/${index}`, body: "x".repeat(1000) },
  );
  const asking = askTogether(stage.front, hostOf("alpha"), requests);
  await Promise.race([asking, waitFor("asked", async () => waker.asked[0], patience)]);
  go.resolve();
  for (const [index, { status, text }] of (await asking).entries()) {
    assert.equal(status, 200, text);
    const { guest, method, path, bodyBytes } = JSON.parse(text);
    const sent = requests[index];
    assert.deepEqual([guest, method, path, bodyBytes], ["alpha", sent?.method, sent?.path, sent?.body.length]);
  }
  assert.deepEqual(
    waker.asked.map(({ name, vmId }) => [name, vmId]),
    [["alpha", vmIdOf("alpha")]],
  );
}

export async function aWebSocketWakesItsTenant(stage: ServiceStage): Promise<void> {
  await using waker = disposable(
    await startWaker(stage.paths, async ({ name }) => await publishAs(stage, name, "awake")),
  );
  await lull(stage, "foo-ws");
  const socket = await openWebSocket(stage.front, hostOf("foo-ws"));
  assert.equal(await echo(socket, "hello"), "foo-ws:hello");
  socket.terminate();
  assert.equal(waker.asked.length, 1);
}

export async function anExtraHostNameWakesItsTenant(stage: ServiceStage): Promise<void> {
  const names = ["shop.example"];
  await using waker = disposable(
    await startWaker(stage.paths, async ({ name }) => await publishAs(stage, name, "awake", names)),
  );
  await lull(stage, "foo", names);
  assert.equal(JSON.parse((await ask(stage.front, "shop.example")).text).guest, "foo");
  assert.equal(waker.asked.length, 1);
}

/** A connection to the guest that is pooled must not carry a request past the wake. */
export async function aSleeperIsNotReachedOverPooledConnections(stage: ServiceStage): Promise<void> {
  await using waker = disposable(
    await startWaker(stage.paths, async () => {
      throw fail("RESUME_FAILED", "told to fail");
    }),
  );
  const agent = keptAgent();
  await publishAs(stage, "alpha", "awake");
  assert.equal((await ask(stage.front, hostOf("alpha"), { agent })).status, 200);
  await publishAs(stage, "alpha", "asleep");
  const answer = await ask(stage.front, hostOf("alpha"), { agent });
  assertRefused(answer, 503, "TENANT_NOT_AWAKE");
  assert.equal(answer.headers["retry-after"], "30");
  assert.equal(waker.asked.length, 1);
  agent.destroy();
}

export async function aRefusedWakeIsToldWithItsTimeAndNotAskedAgain(stage: ServiceStage): Promise<void> {
  await using waker = disposable(
    await startWaker(stage.paths, async () => {
      throw fail("WAKE_TENANT_BUDGET", "told to refuse", { metadata: { retry_after_s: "77" } });
    }),
  );
  await lull(stage, "beta");
  const answer = await ask(stage.front, hostOf("beta"));
  assertRefused(answer, 503, "TENANT_NOT_AWAKE");
  assert.equal(answer.headers["retry-after"], "77");
  assert.equal(answer.headers["strict-transport-security"], "max-age=31536000");
  for (let index = 0; index < 20; index += 1)
    assertRefused(await ask(stage.front, hostOf("beta")), 503, "TENANT_NOT_AWAKE");
  assert.equal(waker.asked.length, 1);
}

export async function aTenantThatIsEvictedMeanwhileIsAnsweredAtOnce(stage: ServiceStage): Promise<void> {
  const never = Promise.withResolvers<void>();
  await using waker = disposable(await startWaker(stage.paths, () => never.promise));
  await lull(stage, "alpha");
  const asking = Array.from({ length: 5 }, () => ask(stage.front, hostOf("alpha")));
  await waitFor("asked", async () => waker.asked[0], patience);
  await stage.withdraw("alpha");
  for (const answer of await Promise.all(asking)) assertRefused(answer, 404, "NO_SUCH_TENANT");
  never.resolve();
}

export async function aWakeThatDoesNotEndIsAnswered(stage: ServiceStage): Promise<void> {
  const never = Promise.withResolvers<void>();
  await using _waker = disposable(await startWaker(stage.paths, () => never.promise));
  await lull(stage, "alpha");
  const answer = await ask(stage.front, hostOf("alpha"));
  assertRefused(answer, 503, "TENANT_NOT_AWAKE");
  assert.equal(answer.headers["retry-after"], "5");
  never.resolve();
}

function disposable<T extends { close(): Promise<void> }>(resource: T): T & AsyncDisposable {
  return { ...resource, [Symbol.asyncDispose]: () => resource.close() };
}
