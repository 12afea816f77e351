/** `make ablation`: takes each limit away in turn. What then gets through shows that the limit is what held it. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { cannotRun } from "../testing/ground.ts";
import { type RateScene, setRateScene } from "../testing/rates.ts";
import { inner } from "./address-plan.ts";

describe("without a limit", { skip: cannotRun }, () => {
  let scene: RateScene;

  before(async () => {
    scene = await setRateScene();
  });
  after(() => scene.ground.remove());

  const withoutBucket = ["tc", "qdisc", "delete", "dev"] as const;

  async function raise(set: "sending" | "receiving", slot: number): Promise<void> {
    const element = (limit: string) => `element inet lobsterd ${set} { "lob-${slot}"${limit} }`;
    const input = `delete ${element("")}\nadd ${element(" limit rate 1000000/second burst 100 packets")}\n`;
    await scene.ground.host.run(["nft", "-f", "-"], { input });
  }

  test("slot's bucket: a guest sends more than 10 Mbit/s", async () => {
    await scene.bandwidth.slot.run([...withoutBucket, inner.uplink, "root"]);
    assert.ok((await scene.sentMbits(scene.bandwidth)) > 12);
  });
  test("host's bucket: a guest receives more than 10 Mbit/s", async () => {
    await scene.ground.host.run([...withoutBucket, scene.bandwidth.plan.hostInterface, "root"]);
    assert.ok((await scene.receivedMbits(scene.bandwidth)) > 12);
  });
  test("limit of `sending`: a guest sends more than 1,000 packets per second", async () => {
    await raise("sending", scene.packets.plan.slot);
    assert.ok((await scene.sentPackets(scene.packets)) > 1200);
  });
  test("limit of `receiving`: a guest receives more than 1,000 packets per second", async () => {
    await raise("receiving", scene.packets.plan.slot);
    assert.ok((await scene.receivedPackets(scene.packets)) > 1200);
  });
});
