import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { attacks } from "../testing/attacks.ts";
import { cannotRun, world } from "../testing/ground.ts";
import { type Scene, setScene } from "../testing/scene.ts";
import { counted } from "../testing/wanted.ts";

const limits = { timeoutMs: 10_000, intervalMs: 100 };

describe("what a network has carried", { skip: cannotRun }, () => {
  let scene: Scene;

  before(async () => {
    scene = await setScene();
  });
  after(() => scene.ground.remove());

  const read = (slot: number) => scene.stack.usage.read(slot);

  test("is counted at the guest's link, by tenant", async () => {
    const [before, neighbour] = [await read(0), await read(1)];
    assert.equal(await scene.first.actor.hold(world.internet, 9000), "echo");
    const after = await read(0);
    assert.ok(after.sentBytes > before.sentBytes && after.receivedBytes > before.receivedBytes);
    assert.ok(after.sentPackets - before.sentPackets >= 3n, "a handshake and a request");
    assert.equal(after.trackedConnections, before.trackedConnections + 1);
    const beside = await read(1);
    assert.equal(beside.trackedConnections, neighbour.trackedConnections);
    // Its kernel may ask for a neighbour meanwhile.
    assert.ok(beside.sentPackets - neighbour.sentPackets < 3n, "none of the connection's");
  });

  test("tells the connections of each direction apart, and how long an inbound one has been silent", async () => {
    const before = await read(1);
    assert.equal(await scene.second.actor.hold(world.internet, 9000), "echo");
    assert.equal((await read(1)).outboundConnections, before.outboundConnections + 1);
    assert.equal(await scene.hostActor.hold(scene.second.plan.guestAddress, 9000), "echo");
    const { outboundConnections, inboundConnections, inboundSilenceSeconds } = await read(1);
    assert.equal(outboundConnections, before.outboundConnections + 1);
    assert.equal(inboundConnections, before.inboundConnections + 1);
    assert.ok(inboundSilenceSeconds !== undefined && inboundSilenceSeconds <= 1, `${inboundSilenceSeconds}`);
    const use = () => scene.hostActor.use(1500);
    await waitFor("silence", async () => ((await read(1)).inboundSilenceSeconds ?? 0) >= 2 || undefined, limits);
    assert.equal(await use(), "echo");
    assert.ok(((await read(1)).inboundSilenceSeconds ?? 99) <= 1, "a packet ends the silence");
  });

  test("names why packets were dropped, by tenant", async () => {
    await attacks["forged mac"](scene);
    await attacks["denied ranges in the namespace"](scene);
    await counted["denied-range"](scene);
    await attacks["flood of packets at the host"](scene);
    const { droppedPackets } = await read(0);
    for (const reason of ["spoofed-mac", "denied-range", "sent-packets"])
      assert.ok((droppedPackets.get(reason) ?? 0n) >= 5n, `${reason}: ${droppedPackets.get(reason)}`);
    assert.equal((await read(2)).droppedPackets.has("denied-range"), false);
  });

  test("counts what goes to the configured resolvers", async () => {
    const before = (await read(0)).resolverPackets;
    assert.equal(await scene.first.actor.connect(world.resolver, 53, 1500), "echo");
    assert.ok((await read(0)).resolverPackets > before);
  });

  test("begins anew with the next tenant", async () => {
    const { stack } = scene;
    await stack.networks.detach("0".repeat(32));
    await stack.networks.attach({
      ...{ vmId: "f".repeat(32), slot: 0, egress: { mode: "internet" } },
      limits: { sentKbits: 10_000, receivedKbits: 10_000, sentPackets: 1000, receivedPackets: 1000 },
    });
    const { sentPackets, droppedPackets, resolverPackets } = await read(0);
    assert.deepEqual([sentPackets, [...droppedPackets], resolverPackets], [0n, [], 0n]);
  });

  test("cannot be read without netlink, and says so", async () => {
    const { usage } = await scene.ground.openStack({ kernelAccess: "processes" });
    await assert.rejects(usage.read(0), (error) => reasonOf(error) === "USAGE_UNAVAILABLE");
  });
});
