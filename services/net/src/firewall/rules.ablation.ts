/** `make ablation`: takes each rule away in turn and shows what it was holding off. Red here means a rule that proves nothing. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { renderRuleset } from "../firewall/ruleset.ts";
import { type Ablation, ablated, ablations, whole } from "../testing/ablations.ts";
import { attacks, type Scene, setScene, wanted } from "../testing/attacks.ts";
import { cannotRun, makeGround } from "../testing/ground.ts";
import type { Guest } from "../testing/guest.ts";

describe("without a rule", { skip: cannotRun }, () => {
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

  async function load(at: Ablation["at"], ruleset = whole[at]): Promise<void> {
    const guests: readonly Guest[] = [scene.first, scene.second, scene.absent];
    if (at === "host") await scene.ground.host.run(["nft", "-f", "-"], { input: renderRuleset(ruleset) });
    else for (const guest of guests) await guest.loadSlotRules(ruleset);
    // A tracked flow would let the next attempt pass as established.
    for (const runner of [scene.ground.host, ...guests.map(({ slot }) => slot)]) await runner.run(["conntrack", "-F"]);
  }

  for (const ablation of ablations) {
    const { at, rules, policies = [], shows } = ablation;
    test(`${at} ${[...rules, ...policies].join(", ")}: ${shows in attacks ? "passes" : "stops"}: ${shows}`, async () => {
      await load(at, ablated(ablation));
      try {
        if (isAttack(shows)) assert.ok((await attacks[shows](scene)) > 0, "the attack did not pass");
        else assert.notEqual(await wanted[shows](scene), "echo");
      } finally {
        await load(at);
        await forgetNeighbours();
      }
      if (isAttack(shows)) assert.equal(await attacks[shows](scene), 0, "the attack passes with all rules, too");
      else assert.equal(await wanted[shows](scene), "echo", "wanted traffic stays stopped with all rules");
    });
  }

  async function forgetNeighbours(): Promise<void> {
    const { hostInterface } = scene.first.plan;
    await scene.ground.host.run(["ip", "neighbour", "flush", "dev", hostInterface, "nud", "stale", "nud", "reachable"]);
    await scene.first.slot.run(["ip", "neighbour", "flush", "dev", "tap0", "nud", "stale", "nud", "reachable"]);
  }
});

function isAttack(name: string): name is keyof typeof attacks {
  return name in attacks;
}
