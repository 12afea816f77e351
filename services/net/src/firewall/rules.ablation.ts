/** `make ablation`: takes each rule away in turn and shows what it was holding off. Red here means a rule that proves nothing. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { renderRuleset } from "../firewall/ruleset.ts";
import { type Ablation, ablated, ablations, type Shown, whole } from "../testing/ablations.ts";
import { attacks } from "../testing/attacks.ts";
import { cannotRun } from "../testing/ground.ts";
import type { Guest } from "../testing/guest.ts";
import { type Scene, setScene } from "../testing/scene.ts";
import { counted, wanted } from "../testing/wanted.ts";

describe("without a control", { skip: cannotRun }, () => {
  let scene: Scene;

  before(async () => {
    scene = await setScene();
  });
  after(() => scene.ground.remove());

  async function load(at: Ablation["at"], ruleset = whole[at]): Promise<void> {
    const guests: readonly Guest[] = [scene.first, scene.second, scene.listed, scene.absent];
    if (at === "host") await scene.ground.host.run(["nft", "-f", "-"], { input: renderRuleset(ruleset) });
    else for (const guest of guests) await guest.loadSlotRules(ruleset);
    // A tracked flow would let the next attempt pass as established.
    for (const runner of [scene.ground.host, ...guests.map(({ slot }) => slot)]) await runner.run(["conntrack", "-F"]);
  }

  for (const ablation of ablations) {
    const { at, rules, weaken = [], policies = [], shows } = ablation;
    const removed = [...rules, ...weaken.map(({ rule, clause }) => `${clause} of ${rule}`), ...policies];
    for (const shown of [shows].flat()) {
      test(`${at} ${removed.join(", ")}: ${shown}`, async () => {
        await load(at, ablated(ablation));
        try {
          assert.ok(await isRed(shown), "nothing shows that the control is gone");
        } finally {
          await load(at);
          await forgetNeighbours();
        }
        assert.ok(!(await isRed(shown)), "it shows with every control in place, too");
      });
    }
  }

  test("timeouts of closed connections: connections opened and closed, one after another", async () => {
    const runners = [scene.ground.host, scene.second.slot];
    const set = async (seconds: number): Promise<void> => {
      for (const state of ["time_wait", "close"])
        for (const runner of runners)
          await runner.run([
            "sysctl",
            "--quiet",
            "--write",
            `net.netfilter.nf_conntrack_tcp_timeout_${state}=${seconds}`,
          ]);
    };
    await set(120);
    try {
      assert.ok(await isRed("connections opened and closed, one after another"));
    } finally {
      await set(1);
      for (const runner of runners) await runner.run(["conntrack", "-F"]);
    }
    assert.ok(!(await isRed("connections opened and closed, one after another")));
  });

  /** Whether an attack passes, wanted traffic is stopped, or a reason is not counted. */
  async function isRed(shows: Shown): Promise<boolean> {
    if (shows in attacks) return (await attacks[shows as keyof typeof attacks](scene)) > 0;
    if (shows in counted) return (await counted[shows as keyof typeof counted](scene)) === 0;
    return (await wanted[shows as keyof typeof wanted](scene)) !== "echo";
  }

  async function forgetNeighbours(): Promise<void> {
    const { hostInterface } = scene.first.plan;
    await scene.ground.host.run(["ip", "neighbour", "flush", "dev", hostInterface, "nud", "stale", "nud", "reachable"]);
    await scene.first.slot.run(["ip", "neighbour", "flush", "dev", "tap0", "nud", "stale", "nud", "reachable"]);
  }
});
