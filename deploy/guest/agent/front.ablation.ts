/** A front that takes every name for its own: each way of mixing two guests up then gives somebody another tenant's answer. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { caddyConfig } from "@lobsterd/proxy/caddy/caddy-config.ts";
import { hostOf } from "@lobsterd/proxy/testing/probes.ts";
import { findCaddy } from "@lobsterd/proxy/testing/programs.ts";
import { defaultLimits, sceneSettings } from "@lobsterd/proxy/testing/scene.ts";
import { type BareStage, openBareStage } from "@lobsterd/proxy/testing/stages.ts";
import { aTenantHasSoManyConnections } from "./limit-probes.ts";
import { fronts, pair, swapByDial, swapped, swapWithoutVerification } from "./swap-probes.ts";

const caddy = await findCaddy();
const hostNames = pair.flatMap(({ name }) => [`${name}.guest.internal`, hostOf(name)]);

describe("a front without its names", { skip: "reason" in caddy && caddy.reason }, () => {
  let stage: BareStage;
  before(async () => {
    const guests = pair.map((guest) => ({ ...guest, hostNames }));
    stage = await openBareStage("path" in caddy ? caddy.path : "", { guests, fixture: fronts }, swapped);
    for (const { name } of pair) await stage.publish(name);
  });
  after(() => stage.scene.close());

  for (const probe of [swapWithoutVerification, swapByDial]) {
    it(`${probe.name} turns red`, async () => {
      const settings = sceneSettings(stage.paths, defaultLimits);
      await assert.rejects(probe(stage, settings, 100), /got the answer of another/);
    });
  }
});

describe("a front without its limit of connections", { skip: "reason" in caddy && caddy.reason }, () => {
  it("aTenantHasSoManyConnections turns red", async () => {
    const guests = pair.map((guest) => ({ ...guest, connectionLimit: 100_000 }));
    const stage = await openBareStage("path" in caddy ? caddy.path : "", { guests, fixture: fronts });
    try {
      await stage.configure(caddyConfig(sceneSettings(stage.paths, defaultLimits)));
      await assert.rejects(aTenantHasSoManyConnections(stage, 1024), /open: 1040/);
    } finally {
      await stage.scene.close();
    }
  });
});
