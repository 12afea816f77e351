import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { ask, echo, openWebSocket } from "./testing/https-client.ts";
import { assertRefused, hostOf } from "./testing/probes.ts";
import { findCaddy, kill } from "./testing/programs.ts";
import { startCaddy, startProxyProcess } from "./testing/scene.ts";
import { caddyServes, openServiceStage } from "./testing/stages.ts";
import * as probes from "./testing/wake-probes.ts";
import { startWaker } from "./testing/waker.ts";

const caddy = await findCaddy();

describe("a tenant that sleeps, with real Caddy", { skip: "reason" in caddy && caddy.reason }, () => {
  let stage: Awaited<ReturnType<typeof openServiceStage>>;
  before(async () => {
    stage = await openServiceStage("path" in caddy ? caddy.path : "");
  });
  after(() => stage.scene.close());

  for (const probe of [
    probes.aHundredRequestsAreOneWake,
    probes.aWebSocketWakesItsTenant,
    probes.anExtraHostNameWakesItsTenant,
    probes.aSleeperIsNotReachedOverPooledConnections,
    probes.aRefusedWakeIsToldWithItsTimeAndNotAskedAgain,
    probes.aTenantThatIsEvictedMeanwhileIsAnsweredAtOnce,
    probes.aWakeThatDoesNotEndIsAnswered,
  ]) {
    it(
      probe.name.replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`),
      () => probe(stage),
    );
  }
});

describe("a tenant that sleeps, and what happens to proxy and Caddy meanwhile", {
  skip: "reason" in caddy && caddy.reason,
}, () => {
  let stage: Awaited<ReturnType<typeof openServiceStage>>;
  let waker: Awaited<ReturnType<typeof startWaker>>;
  beforeEach(async () => {
    stage = await openServiceStage("path" in caddy ? caddy.path : "");
    waker = await startWaker(stage.paths, ({ name }) => probes.publishAs(stage, name, "awake"));
    await probes.lull(stage, "alpha");
  });
  afterEach(async () => {
    await waker.close();
    await stage.scene.close();
  });

  it("is told as not awake while proxy is away, and woken when it is back", async () => {
    await kill(stage.proxy.process, "SIGKILL");
    const answer = await ask(stage.front, hostOf("alpha"));
    assertRefused(answer, 503, "TENANT_NOT_AWAKE");
    assert.equal(answer.headers["retry-after"], "1");
    await startProxyProcess(stage.scene);
    assert.equal((await ask(stage.front, hostOf("alpha"))).status, 200);
    assert.equal(waker.asked.length, 1);
  });

  it("is woken after a restart of Caddy, without anybody calling", async () => {
    await kill(stage.caddy.process, "SIGKILL");
    await startCaddy(stage.scene);
    await caddyServes(stage);
    assert.equal((await ask(stage.front, hostOf("alpha"))).status, 200);
    assert.equal(waker.asked.length, 1);
  });

  it("cuts nobody's WebSocket and loads no configuration, a hundred times to sleep and back", async () => {
    await probes.publishAs(stage, "foo-ws", "awake");
    const socket = await openWebSocket(stage.front, hostOf("foo-ws"));
    for (let index = 0; index < 100; index += 1) await probes.lull(stage, `t-${index % 10}`);
    assert.equal(await echo(socket, "still here"), "foo-ws:still here");
    assert.equal(stage.caddy.output().split('"load complete"').length - 1, 1);
    socket.terminate();
  });
});
