import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { connect } from "node:tls";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { startAcmeAuthority } from "../testing/acme-authority.ts";
import { ask, type Front } from "../testing/https-client.ts";
import * as probes from "../testing/probes.ts";
import { findCaddy } from "../testing/programs.ts";
import { defaultLimits, type Scene, type Started, sceneSettings } from "../testing/scene.ts";
import { type BareStage, openBareStage } from "../testing/stages.ts";
import { readInternalRoot } from "./admin.ts";
import { caddyConfig } from "./caddy-config.ts";
import type { FrontCertificates } from "./front-certificates.ts";
import { createKeeper } from "./keeper.ts";

const caddy = await findCaddy();
const skip = "reason" in caddy && caddy.reason;
const caddyPath = "path" in caddy ? caddy.path : "";

const patience = { timeoutMs: 20_000, intervalMs: 50 };

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

describe("a front with certificate files", { skip }, () => {
  const stampOf = (digit: string) => digit.repeat(64);
  let stage: BareStage;
  before(async () => {
    stage = await openBareStage(caddyPath);
    await stage.publish("foo");
  });
  after(() => stage.scene.close());

  /**
   * A connection on which nothing was answered yet may be closed at a load, and its request is repeated, as browsers do; with little luck the
   * repeated one still meets the listener that ends. An answer that was begun is never asked for again.
   */
  async function askUntilAnswered(attempts = 5): Promise<{ readonly status: number }> {
    try {
      return await ask(stage.front, probes.hostOf("foo"));
    } catch (error) {
      const wasBegun = error instanceof Error && error.message === "aborted";
      if (wasBegun || attempts === 1) throw error;
      return await askUntilAnswered(attempts - 1);
    }
  }

  async function shownSerial(): Promise<string | undefined> {
    const socket = connect({ path: stage.front.socketPath, servername: probes.hostOf("foo"), ca: stage.front.caPem });
    try {
      await once(socket, "secureConnect");
      return socket.getPeerX509Certificate()?.serialNumber;
    } finally {
      socket.destroy();
    }
  }

  it("shows those that are made anew once their stamp differs, and counts it as no drift", async () => {
    let stamp = stampOf("a");
    const desired = () => caddyConfig({ ...sceneSettings(stage.paths, defaultLimits), certificatesStamp: stamp });
    const keeper = createKeeper(desired, stage.paths.adminSocket);
    await keeper.check();
    const before = await shownSerial();

    const names = [{ type: "dns" as const, value: `*.${probes.hostOf("foo").split(".").slice(1).join(".")}` }];
    const renewed = await stage.scene.authorities.platform.issue("web", names);
    writeFileSync(stage.paths.webLeaf.certificatePath, renewed.certificatePem);
    writeFileSync(stage.paths.webLeaf.keyPath, renewed.keyPem);
    assert.deepEqual(await keeper.check(), { kind: "equal" });
    assert.equal(await shownSerial(), before, "nobody said that there are new ones");

    stamp = stampOf("b");
    assert.deepEqual(await keeper.check(), { kind: "loaded", cause: "renewed", paths: ["/apps/http/@id"] });
    const { serialNumber } = new X509Certificate(renewed.certificatePem);
    // The listener that ends may still take a connection that begins.
    await waitFor("the renewed one", async () => (await shownSerial()) === serialNumber || undefined, patience);
    assert.equal((await ask(stage.front, probes.hostOf("foo"))).status, 200);
    assert.deepEqual(await keeper.check(), { kind: "equal" });
  });

  it("finishes an answer that was begun when a configuration is loaded", () => probes.anAnswerOutlivesALoad(stage));

  it("finishes the requests that run when it reads its files again", async (t) => {
    let stamp = stampOf("c");
    const desired = () => caddyConfig({ ...sceneSettings(stage.paths, defaultLimits), certificatesStamp: stamp });
    const keeper = createKeeper(desired, stage.paths.adminSocket);
    await waitFor(
      "the first load",
      async () => /loaded|equal/.test((await keeper.check()).kind) || undefined,
      patience,
    );
    const answers: string[] = [];
    let isOver = false;
    t.after(() => {
      isOver = true;
    });
    const load = Array.from({ length: 8 }, async () => {
      while (!isOver) {
        const answer = askUntilAnswered();
        answers.push(
          await answer.then(
            ({ status }) => String(status),
            (error: unknown) => String(error),
          ),
        );
      }
    });
    await waitFor("requests", async () => answers.length > 50 || undefined, patience);
    stamp = stampOf("d");
    await keeper.check();
    const until = answers.length + 50;
    await waitFor("more requests", async () => answers.length > until || undefined, patience);
    isOver = true;
    await Promise.all(load);
    assert.deepEqual([...new Set(answers)], ["200"]);
  });
});

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
