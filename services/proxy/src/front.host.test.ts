import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, describe, it } from "node:test";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { ask, echo, openWebSocket } from "./testing/https-client.ts";
import * as probes from "./testing/probes.ts";
import { findCaddy } from "./testing/programs.ts";
import * as requestProbes from "./testing/request-probes.ts";
import { domain } from "./testing/scene-paths.ts";
import { openServiceStage, vmIdOf } from "./testing/stages.ts";

const caddy = await findCaddy();

describe("proxy in front of tenants, with real Caddy", { skip: "reason" in caddy && caddy.reason }, () => {
  let stage: Awaited<ReturnType<typeof openServiceStage>>;
  before(async () => {
    stage = await openServiceStage("path" in caddy ? caddy.path : "");
  });
  after(() => stage.scene.close());

  for (const probe of [
    probes.anUnknownTenantIsRefused,
    probes.eachTenantGetsItsOwnAnswer,
    probes.anAddressOfAnotherTenantIsRefused,
    probes.aCertificateOfAnotherAuthorityIsRefused,
    probes.onlyTenantNamesAreOurs,
    probes.theHostMustBeTheServerName,
    probes.aWithdrawnNameIsRefusedOverPooledConnections,
    probes.anExtraHostNameLeadsToItsTenantAlone,
    probes.webSocketsPassThrough,
    probes.aBodyOverTheLimitIsRefused,
    probes.answersCarryOurHeadersAndNotTheServers,
    probes.nothingListensButWhatIsConfigured,
    probes.theAdminSocketHasItsOwnersAndModes,
    probes.strangersCannotOpenTheAdminSocket,
    probes.oldTlsIsRefused,
    ...Object.values(requestProbes),
  ]) {
    it(
      probe.name.replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`),
      () => probe(stage),
    );
  }

  it("refuses a withdrawn name within 100 ms of the call", async (test) => {
    const samples: number[] = [];
    for (let round = 0; round < 7; round += 1) samples.push(await probes.msUntilRefused(stage));
    samples.sort((a, b) => a - b);
    test.diagnostic(`ms from call to first refusal: ${samples.map((ms) => ms.toFixed(0)).join(" ")}`);
    assert.ok((samples[3] ?? Number.POSITIVE_INFINITY) < 100);
  });

  it("makes 200 changes without loading a configuration or cutting one of 100 WebSockets of others", async () => {
    const loads = (): number => stage.caddy.output().split('"load complete"').length - 1;
    for (const tenant of ["foo", "foo-ws"]) await stage.publish(tenant);
    const opening = Array.from({ length: 100 }, async (_, index) => {
      const tenant = index % 2 === 0 ? "foo" : "foo-ws";
      return { tenant, socket: await openWebSocket(stage.front, probes.hostOf(tenant)) };
    });
    const sockets = await Promise.all(opening);
    let cut = 0;
    for (const { socket } of sockets) socket.on("close", () => (cut += 1));
    assert.equal(loads(), 1);
    for (let index = 0; index < 100; index += 1) {
      const tenant = `t-${index}`;
      const route = { tenant, vmId: vmIdOf(tenant), generation: 1, guestAddress: `10.201.1.${index}` };
      await stage.routes.publishRoute({ requestId: randomUUID(), ...route });
    }
    for (let index = 0; index < 100; index += 1) await stage.withdraw(`t-${index}`);
    assert.equal(loads(), 1);
    for (const { tenant, socket } of sockets) assert.equal(await echo(socket, "still here"), `${tenant}:still here`);
    assert.equal(cut, 0);
    for (const { socket } of sockets) socket.terminate();
  });

  it("says where people came from", async () => {
    await stage.publish("alpha");
    const script = `require("node:https").get({ host: "127.0.0.1", servername: "${probes.hostOf("alpha")}", rejectUnauthorized: false,
      headers: { Host: "${probes.hostOf("alpha")}", "X-Forwarded-For": "6.6.6.6" } }, (response) => response.pipe(process.stdout))`;
    const overTcp = JSON.parse(await stage.runInside(process.execPath, "-e", script));
    assert.equal(overTcp.headers["x-forwarded-for"], "127.0.0.1");
  });

  it("redirects plain HTTP to HTTPS for tenants only", async () => {
    const script = `for (const host of ["alpha.${domain}", "other.example", "alpha.${domain}.evil.example"])
      require("node:http").get({ host: "127.0.0.1", path: "/a?b=c", agent: false, headers: { Host: host } },
        (response) => console.log(host, response.statusCode, response.headers.location ?? "-"))`;
    const lines = (await stage.runInside(process.execPath, "-e", script)).trim().split("\n").sort();
    assert.deepEqual(lines, [
      `alpha.${domain} 308 https://alpha.${domain}:8443/a?b=c`,
      `alpha.${domain}.evil.example 404 -`,
      "other.example 404 -",
    ]);
  });

  it("keeps what people asked for out of Caddy's log, and the cause of a failure in it", async () => {
    await stage.publish("crossed");
    await ask(stage.front, probes.hostOf("crossed"), {
      path: "/?token=canary-5ecret",
      headers: { "X-Canary": "canary-5ecret" },
    });
    assert.match(stage.caddy.output(), /certificate is valid for alpha\.guest\.internal, not crossed\.guest\.internal/);
    assert.doesNotMatch(stage.caddy.output(), /canary-5ecret/);
  });

  it("lets only vm publish and withdraw, and viewers look", async () => {
    const { viewerLeaf, netLeaf } = stage.paths;
    const publish = {
      requestId: randomUUID(),
      tenant: "x",
      vmId: vmIdOf("x"),
      generation: 1,
      guestAddress: "10.201.0.1",
    };
    const withdraw = { requestId: randomUUID(), tenant: "alpha", vmId: "" };
    for (const leaf of [viewerLeaf, netLeaf]) {
      const client = stage.clientAs(leaf);
      await assert.rejects(
        client.publishRoute(publish),
        (error) => reasonOf(error) !== undefined && /permission/i.test(String(error)),
      );
      await assert.rejects(client.withdrawRoute(withdraw), /permission/i);
    }
    await stage.publish("alpha");
    const { route } = await stage.clientAs(viewerLeaf).getRoute({ tenant: "alpha" });
    assert.equal(route?.hostName, `alpha.${domain}`);
  });
});
