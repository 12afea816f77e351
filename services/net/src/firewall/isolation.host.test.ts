import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { attacks } from "../testing/attacks.ts";
import { cannotRun } from "../testing/ground.ts";
import { type Scene, setScene } from "../testing/scene.ts";
import { counted, wanted } from "../testing/wanted.ts";

describe("a guest's reach", { skip: cannotRun }, () => {
  let scene: Scene;

  before(async () => {
    scene = await setScene();
  });
  after(() => scene.ground.remove());

  for (const [name, attempt] of Object.entries(wanted)) {
    test(`works: ${name}`, async () => assert.equal(await attempt(scene), "echo"));
  }
  for (const [reason, cause] of Object.entries(counted)) {
    test(`is counted by tenant: ${reason}`, async () => assert.ok((await cause(scene)) > 0));
  }
  for (const [name, attack] of Object.entries(attacks)) {
    test(`passes nothing: ${name}`, async () => assert.equal(await attack(scene), 0));
  }
});
