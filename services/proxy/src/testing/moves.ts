/** A tenant's guest stops answering and the tenant moves, or its address goes to somebody else; see `probes.ts`. */

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { ask, keptAgent, openWebSocket } from "./https-client.ts";
import { assertRefused, hostOf } from "./probes.ts";
import { kill } from "./programs.ts";
import { type Started, startGuests } from "./scene.ts";
import { type ServiceStage, vmIdOf } from "./stages.ts";

const [reused, fresh] = ["10.201.0.1", "10.201.0.3"] as const;
/** No guests of the stage's own are at these. */
export const moveAddresses = [reused, fresh];

const publishAt = (stage: ServiceStage, tenant: string, generation: number, guestAddress: string) =>
  stage.routes.publishRoute({ requestId: randomUUID(), tenant, vmId: vmIdOf(tenant), generation, guestAddress });

/** As `net` does when it detaches a guest. */
export async function killConnectionsTo(stage: ServiceStage, address: string): Promise<void> {
  await stage.runInside("ss", "--kill", "--tcp", "--no-header", "dst", address, "dport", "=", ":9000");
}

/** alpha's guest, pooled by Caddy and then silent: it says neither FIN nor RST, like one whose microVM was cut off. */
async function silentAlpha(stage: ServiceStage): Promise<Started> {
  const guest = await startGuests(stage.scene, [{ name: "alpha", address: reused }]);
  await publishAt(stage, "alpha", 1, reused);
  assert.equal((await ask(stage.front, hostOf("alpha"))).status, 200);
  guest.process.kill("SIGSTOP");
  return guest;
}

/** The next request after the move is answered by the new guest. `cut` stands for what `net` does. */
export async function aTenantThatMovedIsAnswered(stage: ServiceStage, cut = killConnectionsTo): Promise<void> {
  const old = await silentAlpha(stage);
  try {
    await cut(stage, reused);
    await startGuests(stage.scene, [{ name: "alpha", address: fresh }]);
    await publishAt(stage, "alpha", 2, fresh);
    const answer = await ask(stage.front, hostOf("alpha"));
    assert.equal(JSON.parse(answer.text).guest, "alpha");
  } finally {
    await kill(old.process, "SIGKILL");
  }
}

/** The address goes to beta at once, without the quarantine that it has in fact: nobody who asks alpha gets beta. */
export async function aReusedAddressAnswersForItsNewTenantAlone(stage: ServiceStage): Promise<void> {
  const old = await startGuests(stage.scene, [{ name: "alpha", address: reused }]);
  await publishAt(stage, "alpha", 1, reused);
  const socket = await openWebSocket(stage.front, hostOf("alpha"));
  const agent = keptAgent();
  try {
    assert.equal((await ask(stage.front, hostOf("alpha"), { agent })).status, 200);
    const closed = once(socket, "close", { signal: AbortSignal.timeout(10_000) });
    await stage.withdraw("alpha");
    assertRefused(await ask(stage.front, hostOf("alpha"), { agent }), 404, "NO_SUCH_TENANT");
    await killConnectionsTo(stage, reused);
    await closed;
    await kill(old.process, "SIGKILL");
    await startGuests(stage.scene, [{ name: "beta", address: reused }]);
    await publishAt(stage, "beta", 1, reused);
    assert.equal(JSON.parse((await ask(stage.front, hostOf("beta"))).text).guest, "beta");
    assertRefused(await ask(stage.front, hostOf("alpha"), { agent }), 404, "NO_SUCH_TENANT");
    // Even a route that is wrong does not lead there.
    await publishAt(stage, "alpha", 2, reused);
    assertRefused(await ask(stage.front, hostOf("alpha"), { agent }), 502, "TENANT_UNREACHABLE");
  } finally {
    agent.destroy();
    socket.terminate();
    await kill(old.process, "SIGKILL");
  }
}
