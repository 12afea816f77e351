import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { ask, echo, openWebSocket } from "@lobsterd/proxy/testing/https-client.ts";
import * as probes from "@lobsterd/proxy/testing/probes.ts";
import { findCaddy } from "@lobsterd/proxy/testing/programs.ts";
import * as requestProbes from "@lobsterd/proxy/testing/request-probes.ts";
import { defaultLimits, sceneSettings } from "@lobsterd/proxy/testing/scene.ts";
import { extraHosts } from "@lobsterd/proxy/testing/scene-paths.ts";
import { type BareStage, openBareStage, openServiceStage } from "@lobsterd/proxy/testing/stages.ts";
import { aTenantHasSoManyConnections } from "./limit-probes.ts";
import { fronts, pair, swapByAddress, swapByDial, swapped, swapWithoutVerification } from "./swap-probes.ts";

const caddy = await findCaddy();
const skip = "reason" in caddy && caddy.reason;
const caddyPath = "path" in caddy ? caddy.path : "";

/** alpha's identity has an extra name, beta's has not. */
const hostNamesOf = (name: string): string[] => [
  ...[`${name}.guest.internal`, probes.hostOf(name)],
  ...(name === "alpha" ? [extraHosts[0]] : []),
];

describe("the real front of guests, behind Caddy and proxy", { skip }, () => {
  let stage: Awaited<ReturnType<typeof openServiceStage>>;
  before(async () => {
    const guests = pair.map((guest) => ({ ...guest, hostNames: hostNamesOf(guest.name) }));
    stage = await openServiceStage(caddyPath, { guests, fixture: fronts });
  });
  after(() => stage.scene.close());

  it("has 1,024 connections for a tenant and not one more", () => aTenantHasSoManyConnections(stage, 1024));

  for (const probe of [
    requestProbes.nothingIsSmuggled,
    requestProbes.onlyWebSocketsAreUpgradesAndNobodyIsAProxy,
    requestProbes.headersOverTheLimitAreRefused,
  ]) {
    it(probe.name, () => probe(stage));
  }

  it("lets WebSockets through", async () => {
    await stage.publish("beta");
    const socket = await openWebSocket(stage.front, probes.hostOf("beta"));
    assert.equal(await echo(socket, "hello"), "beta:hello");
    socket.terminate();
  });

  it("has the last word about extra host names: 421 for one that its identity does not have", async () => {
    const [shop, www] = extraHosts;
    await stage.publish("alpha", [shop]);
    await stage.publish("beta", [www]);
    assert.equal(JSON.parse((await ask(stage.front, shop)).text).guest, "alpha");
    assert.equal((await ask(stage.front, www)).status, 421);
  });

  it("gives nobody another tenant's answer in 6,000 requests while addresses are exchanged", async (test) => {
    const { own, refused } = await swapByAddress(stage, 6000);
    test.diagnostic(`${own} own answers, refused by status: ${JSON.stringify(refused)}`);
    assert.ok(own > 0 && (refused[502] ?? 0) > 0);
    assert.deepEqual(Object.keys(refused), ["502"]);
  });

  it("has nothing to say to plain HTTP, to no certificate, to another authority's, and to another service's", async () => {
    const { caddyLeaf, vmLeaf, forgedCaddyLeaf } = stage.paths;
    const script = `const { readFileSync } = require("node:fs"); const [certificate, key] = process.argv.slice(1);
      const { request } = require(certificate === "plain" ? "node:http" : "node:https");
      const tls = key === undefined ? {} : { cert: readFileSync(certificate), key: readFileSync(key) };
      request({ host: "10.201.0.1", port: 9000, servername: "alpha.guest.internal", rejectUnauthorized: false, ...tls,
        headers: { Host: "${probes.hostOf("alpha")}" } }, (answer) => tell(answer.statusCode))
        .on("error", () => tell("no answer")).end();
      function tell(what) { console.log(what); process.exit(0); }`;
    const status = async (...argv: string[]): Promise<string> =>
      (await stage.runInside(process.execPath, "-e", script, ...argv)).trim();
    assert.equal(await status("plain"), "no answer");
    assert.equal(await status("none"), "no answer");
    assert.equal(await status(caddyLeaf.certificatePath, caddyLeaf.keyPath), "200");
    assert.equal(await status(vmLeaf.certificatePath, vmLeaf.keyPath), "403");
    assert.equal(await status(forgedCaddyLeaf.certificatePath, forgedCaddyLeaf.keyPath), "no answer");
  });
});

describe("the real front of guests, where the rest is deceived", { skip }, () => {
  let stage: BareStage;
  before(async () => {
    stage = await openBareStage(caddyPath, { guests: pair, fixture: fronts }, swapped);
    for (const { name } of pair) await stage.publish(name);
  });
  after(() => stage.scene.close());

  it("answers 421 to 2,000 requests that reach it by another's name in the handshake", async () => {
    const settings = sceneSettings(stage.paths, defaultLimits);
    assert.deepEqual(await swapWithoutVerification(stage, settings, 2000), { own: 0, refused: { 421: 2000 } });
  });

  it("answers 421 to each of 2,000 requests whose host is another's, and its own", async () => {
    const settings = sceneSettings(stage.paths, defaultLimits);
    const { own, refused } = await swapByDial(stage, settings, 2000);
    assert.ok(own > 0);
    assert.deepEqual(refused, { 421: 2000 - own });
  });
});
