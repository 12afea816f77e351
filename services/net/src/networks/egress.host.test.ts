import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { NetworkStack } from "../network-stack.ts";
import { type Actor, cannotRun, type Ground, makeGround, usual, world } from "../testing/ground.ts";
import { type Guest, plugGuest } from "../testing/guest.ts";
import type { Egress, EgressRule } from "./policy.ts";

const vmId = "a".repeat(32);
const other = "b".repeat(32);
const name = "c".repeat(32);

function list(...rules: readonly Partial<EgressRule>[]): Egress {
  const whole = { cidr: `${world.internet}/32`, port: undefined, protocol: undefined };
  return { mode: "list", rules: rules.map((rule) => ({ ...whole, ...rule })) };
}

for (const kernelAccess of ["netlink", "processes"] as const) {
  describe(`what a guest may reach, changed by ${kernelAccess}`, { skip: cannotRun }, () => {
    let ground: Ground;
    let stack: NetworkStack;
    let guest: Guest;
    let internet: Actor;

    before(async () => {
      ground = await makeGround();
      stack = await ground.openStack({ kernelAccess });
      await stack.networks.attach({ vmId, slot: 0, ...usual });
      await stack.networks.attach({ vmId: other, slot: 1, ...usual, egress: { mode: "none" } });
      guest = await plugGuest(ground, 0);
      internet = await ground.actor("internet");
      for (const port of [53, 80, 443]) await internet.listen(port);
    });
    after(() => ground.remove());

    const reach = (port: number, host: string = world.internet) => guest.actor.connect(host, port, 700);
    const change = (egress: Egress) => stack.networks.updateEgress(vmId, egress);

    test("the internet is everything public, and names from the resolver alone", async () => {
      assert.deepEqual(
        [await reach(80), await reach(53), await reach(53, world.resolver)],
        ["echo", "timeout", "echo"],
      );
    });

    test("a list is what it names, and names", async () => {
      await change(list({ port: 443, protocol: "tcp" }));
      assert.deepEqual(
        [await reach(443), await reach(80), await reach(53, world.resolver)],
        ["echo", "timeout", "echo"],
      );
      await change(list({ protocol: "udp" }));
      assert.equal(await reach(443), "timeout");
      await change(list({ cidr: "45.0.0.0/24", port: 80 }, { port: 443 }, { cidr: "0.0.0.0/0", port: 443 }));
      assert.deepEqual([await reach(443), await reach(80)], ["echo", "echo"]);
    });

    test("none is nothing, not even names", async () => {
      await change({ mode: "none" });
      assert.deepEqual([await reach(443), await reach(53, world.resolver)], ["timeout", "timeout"]);
    });

    test("a change ends the connections that it forbids, in both directions, and no others", async () => {
      await change({ mode: "internet" });
      assert.equal(await guest.actor.hold(world.internet, 80), "echo");
      await change(list({ port: 80 }));
      assert.equal(await guest.actor.use(700), "echo", "one that is still allowed goes on");
      await change(list({ port: 443 }));
      assert.equal(await guest.actor.use(700), "timeout");
      const tracked = await ground.host.run(["conntrack", "-L", "--orig-src", guest.plan.guestAddress]);
      assert.doesNotMatch(tracked, /dport=80 /);
      await change({ mode: "internet" });
    });

    test("a policy is in force at the next start, too", async () => {
      await change(list({ port: 443 }));
      const next = await ground.openStack({ kernelAccess });
      assert.deepEqual([await reach(443), await reach(80)], ["echo", "timeout"]);
      assert.deepEqual(await next.reconcile(), []);
      await next.networks.updateEgress(vmId, { mode: "internet" });
      assert.equal(await reach(80), "echo");
    });

    test("limits that change are in the kernel at once, and a comparison finds nothing to repair", async () => {
      const limits = { sentKbits: 640, receivedKbits: 1280, sentPackets: 50, receivedPackets: 60 };
      await stack.networks.updateLimits(vmId, limits);
      assert.deepEqual(await stack.reconcile(0), []);
      assert.match(await ground.host.run(["tc", "qdisc", "show", "dev", "lob-0"]), /rate 1280Kbit/);
      assert.match(
        await ground.host.run(["nft", "list", "set", "inet", "lobsterd", "sending"]),
        /"lob-0" limit rate 50\/second/,
      );
      await stack.networks.updateLimits(vmId, usual.limits);
      assert.deepEqual(await stack.reconcile(0), []);
    });

    test("one tenant's policy is not another's", async () => {
      const neighbour = await plugGuest(ground, 1);
      assert.equal(await neighbour.actor.connect(world.internet, 80, 700), "timeout");
      await assert.rejects(stack.networks.updateEgress(name, { mode: "internet" }), /no network/);
    });
  });
}
