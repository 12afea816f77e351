import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { attacks, type Scene, setScene, wanted } from "../testing/attacks.ts";
import { cannotRun, makeGround } from "../testing/ground.ts";

describe("a guest's reach", { skip: cannotRun }, () => {
  let scene: Scene;

  before(async () => {
    const ground = await makeGround();
    try {
      const stack = await ground.openStack();
      await stack.pool.fill(new AbortController().signal);
      await stack.networks.attach("0".repeat(32), 0);
      await stack.networks.attach("1".repeat(32), 1);
      scene = await setScene(ground);
    } catch (error) {
      await ground.remove();
      throw error;
    }
  });
  after(() => scene.ground.remove());

  for (const [name, attempt] of Object.entries(wanted)) {
    test(`works: ${name}`, async () => assert.equal(await attempt(scene), "echo"));
  }
  for (const [name, attack] of Object.entries(attacks)) {
    test(`passes nothing: ${name}`, async () => assert.equal(await attack(scene), 0));
  }
});
