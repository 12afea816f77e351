import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { attacks } from "../testing/attacks.ts";
import { harmHost, harmSlot, randomFrom } from "../testing/churn.ts";
import { cannotRun, world } from "../testing/ground.ts";
import { type Scene, setScene } from "../testing/scene.ts";
import { wanted } from "../testing/wanted.ts";

const harms = 200;
const convergedWithinMs = 10_000;
const probePort = 7001;

/** NET-09: somebody takes rules and elements away and adds others while guests try what they may never do. */
describe("while rules are harmed", { skip: cannotRun }, () => {
  let scene: Scene;
  const ended = new AbortController();

  before(async () => {
    scene = await setScene();
    scene.stack.keep({ reconcileIntervalMs: 1000, signal: ended.signal });
  });
  after(async () => {
    ended.abort();
    await scene.stack.reconcile();
    await scene.ground.remove();
  });

  test(`nothing forbidden passes, and ${harms} harms later all is as before within 10 s`, async () => {
    const { ground, first, second, hostActor, lanActor } = scene;
    const random = randomFrom(20_261_125);
    let probing = true;
    let probes = 0;
    const flood = (async () => {
      while (probing) {
        for (const target of [second.plan.guestAddress, world.host, "46.0.0.1", "10.201.0.0", world.lan]) {
          await first.actor.send(target, probePort, 4);
          probes += 4;
        }
      }
    })();
    for (let count = 0; count < harms; count += 1) {
      // Each forbidden packet is held off twice, so one rule too many or too few opens nothing; two in different places could.
      if (random(5) === 0) {
        await harmSlot(first.slot, random);
        await scene.stack.reconcile();
      } else if (await harmHost(ground.host, random))
        await waitFor("the repair", async () => repaired(scene), { timeoutMs: 10_000, intervalMs: 20 });
    }
    const harmed = performance.now();
    while ((await scene.stack.reconcile()).length > 0) {
      assert.ok(performance.now() - harmed < convergedWithinMs, "the rules have not converged");
      await delay(100);
    }
    probing = false;
    await flood;
    const arrived = {
      guest: await second.actor.counted(probePort),
      host: await hostActor.counted(probePort),
      lan: await lanActor.counted(probePort),
    };
    assert.ok(probes > 200, `only ${probes} packets were tried`);
    assert.deepEqual(arrived, { guest: 0, host: 0, lan: 0 });
    // The guest has used up its own connections in trying.
    await first.slot.run(["conntrack", "-F"]);
    assert.equal(await wanted["guest to the internet"](scene), "echo");
    assert.equal(await wanted["host to guest"](scene), "echo");
    assert.equal(await attacks["guest to host"](scene), 0);
  });
});

function repaired({ stack }: Scene): true | undefined {
  return stack.firewall.wasChangedElsewhere() ? undefined : true;
}
