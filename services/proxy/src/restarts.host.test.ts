import assert from "node:assert/strict";
import { performance } from "node:perf_hooks";
import { afterEach, beforeEach, describe, it } from "node:test";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { loadConfig, readConfig } from "./caddy/admin.ts";
import type { Json } from "./caddy/canonical-json.ts";
import { startAuditReceiver } from "./testing/audit-receiver.ts";
import { ask, echo, keptAgent, openWebSocket } from "./testing/https-client.ts";
import * as probes from "./testing/probes.ts";
import { findCaddy, kill } from "./testing/programs.ts";
import { patience, startCaddy, startProxyProcess } from "./testing/scene.ts";
import { caddyServes, openGuestScene, openServiceStage, serviceStageOf } from "./testing/stages.ts";

const caddy = await findCaddy();
const skip = "reason" in caddy && caddy.reason;
const caddyPath = "path" in caddy ? caddy.path : "";
const maxUndoMs = 10_000;

/** What somebody who reached the admin API could load instead; each leaves it listening elsewhere or the routes wrong. */
const tampered: Readonly<Record<string, (desired: Json) => Json>> = {
  "opens the admin API on TCP by leaving the block out": () => ({}),
  "opens the admin API on another TCP port of every address": () => ({ admin: { listen: "0.0.0.0:2777" } }),
  "opens the admin API on IPv6": () => ({ admin: { listen: "[::1]:2778" } }),
  "changes one value deep inside": (desired) =>
    JSON.parse(JSON.stringify(desired).replace('"strict_sni_host":true', '"strict_sni_host":false')) as Json,
  "adds a server that hands out files": (desired) =>
    JSON.parse(
      JSON.stringify(desired).replace(
        '"servers":{',
        '"servers":{"spy":{"listen":[":8000"],"routes":[{"handle":[{"handler":"file_server","root":"/"}]}]},',
      ),
    ) as Json,
};

describe("proxy, Caddy and what happens to them", { skip }, () => {
  let stage: Awaited<ReturnType<typeof openServiceStage>>;
  beforeEach(async () => {
    stage = await openServiceStage(caddyPath);
  });
  afterEach(() => stage.scene.close());

  for (const [what, change] of Object.entries(tampered)) {
    it(`undoes within 10 s an out-of-band load that ${what}`, async (test) => {
      await stage.publish("alpha");
      const audit = await startAuditReceiver(stage.paths);
      test.after(() => audit.close());
      const socket = { socketPath: stage.paths.adminSocket };
      const desired = await readConfig(socket);
      const wrong = change(desired);
      assert.notDeepEqual(wrong, desired);
      await loadConfig(socket, wrong);
      const begin = performance.now();
      await waitFor(
        "told",
        async () => stage.proxy.output().includes("changed by somebody else") || undefined,
        patience,
      );
      const tookMs = performance.now() - begin;
      test.diagnostic(`undone after ${tookMs.toFixed(0)} ms`);
      assert.ok(tookMs <= maxUndoMs, `${tookMs} ms`);
      assert.deepEqual(await readConfig(socket), desired);
      // Audit was away when the service started, so what is late and its mark come first.
      const repairs = () => audit.records.filter(({ action }) => action === "RepairDrift");
      const record = await waitFor("recorded", async () => repairs()[0], patience);
      assert.equal(repairs().length, 1);
      assert.match(record.resource, /^caddy-(drift|moved):\//);
      await probes.nothingListensButWhatIsConfigured(stage);
      await probes.strangersCannotOpenTheAdminSocket(stage);
      await probes.eachTenantGetsItsOwnAnswer(stage);
    });
  }

  for (const signal of ["SIGKILL", "SIGTERM"] as const) {
    it(`brings every route back after Caddy's ${signal}, without anybody calling`, async (test) => {
      await stage.publish("alpha", ["shop.example"]);
      await stage.publish("beta", ["www.shop.example"]);
      await stage.withdraw("beta");
      await kill(stage.caddy.process, signal);
      const begin = performance.now();
      const fresh = await startCaddy(stage.scene);
      await caddyServes(stage);
      test.diagnostic(`${(performance.now() - begin).toFixed(0)} ms from start to serving`);
      for (const host of [probes.hostOf("alpha"), "shop.example"]) {
        assert.equal(JSON.parse((await ask(stage.front, host)).text).guest, "alpha");
      }
      probes.assertRefused(await ask(stage.front, probes.hostOf("beta")), 404, "NO_SUCH_TENANT");
      probes.assertRefused(await ask(stage.front, "www.shop.example"), 404, "NO_SUCH_HOST");
      assert.equal(fresh.output().split('"load complete"').length - 1, 1);
      await probes.strangersCannotOpenTheAdminSocket(stage);
    });
  }

  it("is missed by nobody while it is killed, and knows every route when it is back", async () => {
    await stage.publish("alpha");
    await stage.publish("foo-ws");
    await stage.publish("beta");
    await stage.withdraw("beta");
    const agent = keptAgent();
    const socket = await openWebSocket(stage.front, probes.hostOf("foo-ws"));
    assert.equal((await ask(stage.front, probes.hostOf("alpha"), { agent })).status, 200);
    await kill(stage.proxy.process, "SIGKILL");

    assert.equal((await ask(stage.front, probes.hostOf("alpha"), { agent })).status, 200);
    assert.equal(await echo(socket, "through"), "foo-ws:through");
    await startProxyProcess(stage.scene);
    // A name nobody dialled before: only the resolver can lead to it.
    await stage.publish("foo");
    for (const tenant of ["alpha", "foo"]) assert.equal((await ask(stage.front, probes.hostOf(tenant))).status, 200);
    probes.assertRefused(await ask(stage.front, probes.hostOf("beta")), 404, "NO_SUCH_TENANT");
    assert.equal(await echo(socket, "still"), "foo-ws:still");
    assert.equal(stage.caddy.output().split('"load complete"').length - 1, 1);
    const { routes } = await stage.routes.listRoutes({});
    assert.deepEqual(
      routes.map(({ tenant }) => tenant),
      ["alpha", "foo", "foo-ws"],
    );
    agent.destroy();
    socket.terminate();
  });

  it("stops cleanly on SIGTERM and leaves the routes to the next start", async () => {
    await stage.publish("alpha");
    await kill(stage.proxy.process, "SIGTERM");
    assert.equal(stage.proxy.process.exitCode, 0, stage.proxy.output());
    assert.equal((await ask(stage.front, probes.hostOf("alpha"))).status, 502, "the resolver is gone, the name is not");
    await startProxyProcess(stage.scene);
    const { route } = await stage.routes.getRoute({ tenant: "alpha" });
    assert.equal(route?.guestAddress, "10.201.0.1");
    assert.equal((await ask(stage.front, probes.hostOf("alpha"))).status, 200);
  });
});

describe("proxy without Caddy", { skip }, () => {
  it("starts, says NOT_SERVING, and configures Caddy when it comes", async () => {
    const scene = await openGuestScene(caddyPath);
    try {
      await startProxyProcess(scene);
      const stage = serviceStageOf(scene);
      assert.equal(await stage.isServing(), false);
      await stage.publish("alpha");
      await startCaddy(scene);
      await caddyServes(stage);
      await waitFor("serving", async () => (await stage.isServing()) || undefined, patience);
      await probes.eachTenantGetsItsOwnAnswer(stage);
    } finally {
      await scene.close();
    }
  });
});
