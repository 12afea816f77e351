import assert from "node:assert/strict";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { startAcmeAuthority } from "../testing/acme-authority.ts";
import { ask, type Front } from "../testing/https-client.ts";
import * as probes from "../testing/probes.ts";
import { findCaddy } from "../testing/programs.ts";
import { defaultLimits, type Scene, type Started, sceneSettings } from "../testing/scene.ts";
import { type BareStage, openBareStage } from "../testing/stages.ts";
import { readInternalRoot } from "./admin.ts";
import { caddyConfig } from "./caddy-config.ts";
import type { FrontCertificates } from "./front-certificates.ts";

const caddy = await findCaddy();
const skip = "reason" in caddy && caddy.reason;
const caddyPath = "path" in caddy ? caddy.path : "";

async function openWith(choose: (scene: Scene) => Promise<FrontCertificates>): Promise<BareStage> {
  const stage = await openBareStage(caddyPath);
  try {
    const certificates = await choose(stage.scene);
    await stage.configure(caddyConfig({ ...sceneSettings(stage.paths, defaultLimits), certificates }));
    return stage;
  } catch (error) {
    await stage.scene.close();
    throw error;
  }
}

describe("a front with certificates of Caddy's own authority", { skip }, () => {
  let stage: BareStage;
  let front: Front;
  before(async () => {
    stage = await openWith(async () => ({ kind: "internal", askPort: 5054 }));
    front = { ...stage.front, caPem: await readInternalRoot({ socketPath: stage.paths.adminSocket }) };
  });
  after(() => stage.scene.close());

  it("serves every tenant with one for the domain, and extra host names with their own once they are published", async () => {
    await probes.noHandshakeFor(front, "shop.example");
    await stage.publish("foo", ["shop.example"]);
    for (const host of [probes.hostOf("foo"), "shop.example"]) {
      assert.equal(JSON.parse((await ask(front, host)).text).guest, "foo");
    }
    probes.assertRefused(await ask(front, probes.hostOf("nobody")), 404, "NO_SUCH_TENANT");
    await probes.noHandshakeFor(front, "other.example");
  });

  it("keeps its keys to itself", () => {
    const storage = join(stage.paths.caddyDirectory, "caddy");
    const keys = readdirSync(storage, { recursive: true, encoding: "utf8" }).filter((path) => path.endsWith(".key"));
    assert.ok(keys.length >= 3, keys.join());
    for (const path of keys) assert.equal(statSync(join(storage, path)).mode & 0o077, 0, path);
  });
});

describe("a front with certificates by ACME", { skip }, () => {
  let stage: BareStage;
  let front: Front;
  let authority: Started & { readonly rootPem: string };
  before(async () => {
    stage = await openWith(async (scene) => {
      authority = await startAcmeAuthority(scene, [probes.hostOf("foo"), "shop.example", probes.hostOf("nobody")]);
      return {
        kind: "acme",
        directoryUrl: "https://localhost:14000/acme/local/directory",
        email: "operator@platform.example",
        trustedRootPath: scene.paths.platformCaForCaddy,
        askPort: 5054,
      };
    });
    front = { ...stage.front, caPem: authority.rootPem };
  });
  after(() => stage.scene.close());

  it("orders one for a published name in its first handshake, and none for any other", async () => {
    await probes.noHandshakeFor(front, probes.hostOf("nobody"));
    await stage.publish("foo", ["shop.example"]);
    for (const host of [probes.hostOf("foo"), "shop.example"]) {
      assert.equal(JSON.parse((await ask(front, host)).text).guest, "foo", authority.output());
    }
    await probes.noHandshakeFor(front, probes.hostOf("nobody"));
    assert.doesNotMatch(authority.output(), /nobody/);
  });
});
