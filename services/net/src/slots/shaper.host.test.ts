import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { cannotRun } from "../testing/ground.ts";
import { type RateScene, setRateScene } from "../testing/rates.ts";

/** NET-07. */
describe("what a guest sends and receives", { skip: cannotRun }, () => {
  let scene: RateScene;

  before(async () => {
    scene = await setRateScene();
  });
  after(() => scene.ground.remove());

  function assertWithin(measured: number, wanted: number, unit: string): void {
    assert.ok(Math.abs(measured - wanted) <= 0.1 * wanted, `${measured.toFixed(2)} ${unit} instead of ${wanted}`);
  }

  test("sends 10 Mbit/s", async () => assertWithin(await scene.sentMbits(scene.bandwidth), 10, "Mbit/s"));
  test("receives 10 Mbit/s", async () => assertWithin(await scene.receivedMbits(scene.bandwidth), 10, "Mbit/s"));
  test("sends 1,000 packets per second", async () =>
    assertWithin(await scene.sentPackets(scene.packets), 1000, "packets/s"));
  test("receives 1,000 packets per second", async () =>
    assertWithin(await scene.receivedPackets(scene.packets), 1000, "packets/s"));

  test("one tenant's flood leaves another at least 95 % of what it had", async () => {
    const alone = await scene.sentMbits(scene.neighbour);
    const flood = scene.flood(scene.bandwidth);
    const beside = await scene.sentMbits(scene.neighbour);
    await flood;
    assert.ok(beside >= 0.95 * alone, `${beside.toFixed(2)} of ${alone.toFixed(2)} Mbit/s`);
  });
});
