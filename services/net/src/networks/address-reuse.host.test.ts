import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { NetworkStack } from "../network-stack.ts";
import { sendFrames } from "../testing/frames.ts";
import { cannotRun, type Ground, makeGround, usual, world } from "../testing/ground.ts";
import { type Guest, plugGuest } from "../testing/guest.ts";
import { ipv4Frame, type Path, tcpFlags, tcpSegment, udpDatagram } from "../testing/packets.ts";
import { linkMac, received } from "../testing/reach.ts";
import { protocols } from "../testing/tricks.ts";

const slot = 0;
const [formerVm, nextVm] = ["0".repeat(32), "1".repeat(32)];
const ports = { echo: 9000, counted: 7001 } as const;

/** PXY-07: the next tenant of an address gets nothing that was meant for the one before, with no quarantine to help. */
describe("an address used again at once", { skip: cannotRun }, () => {
  let ground: Ground;
  let stack: NetworkStack;
  let old: Guest;

  before(async () => {
    ground = await makeGround();
    try {
      stack = await ground.openStack();
      await stack.pool.fill(new AbortController().signal);
      await stack.networks.attach({ vmId: formerVm, slot, ...usual });
      old = await plugGuest(ground, slot, "before");
    } catch (error) {
      await ground.remove();
      throw error;
    }
  });
  after(() => ground.remove());

  test("brings the next tenant no packet of the old one's flows", async () => {
    const [internet, host] = [await ground.actor("internet"), await ground.actor("host")];
    await internet.listen(ports.echo);
    await old.actor.listen(ports.echo);
    assert.equal(await old.actor.hold(world.internet, ports.echo), "echo");
    assert.equal(await host.hold(old.plan.guestAddress, ports.echo), "echo");
    await old.actor.send(world.internet, ports.counted, 1);
    const frames = await lateFrames();

    const next = await whileSending(frames, async () => {
      await stack.networks.detach(formerVm);
      await stack.pool.ready(slot);
      await stack.networks.attach({ vmId: nextVm, slot, ...usual });
      return await plugGuest(ground, slot, "after");
    });
    const begin = await received(next.runner);
    for (let round = 0; round < 5; round++) await sendFrames(ground.internet, "eth0", frames);
    const held = await host.use(500);
    assert.equal((await received(next.runner)) - begin, 0);
    assert.notEqual(held, "echo");

    // It has the address's whole use, all the same.
    await next.actor.listen(ports.echo);
    assert.equal(await next.actor.connect(world.internet, ports.echo, 1500), "echo");
    assert.equal(await host.connect(next.plan.guestAddress, ports.echo, 1500), "echo");
  });

  /** The client of the old tenant sends on and on while `change` runs. */
  async function whileSending<T>(frames: readonly Buffer[], change: () => Promise<T>): Promise<T> {
    let isChanging = true;
    const sending = (async () => {
      while (isChanging) await sendFrames(ground.internet, "eth0", frames);
    })();
    try {
      return await change();
    } finally {
      isChanging = false;
      await sending;
    }
  }

  /** Everything the outside would still send on the flows that the host tracks for the guest, and straight to its address. */
  async function lateFrames(): Promise<Buffer[]> {
    const macs = {
      destinationMac: await linkMac(ground.host, world.uplink),
      sourceMac: await linkMac(ground.internet, "eth0"),
    };
    const table = await ground.host.run(["conntrack", "-L", "--orig-src", old.plan.guestAddress]);
    // The second tuple of a line is the reply's: from the outside to the port that the flow has there.
    const flows = [...table.matchAll(/^(tcp|udp) .* src=(\S+) dst=(\S+) sport=(\d+) dport=(\d+)/gm)];
    assert.ok(flows.some(([, protocol]) => protocol === "tcp") && flows.some(([, protocol]) => protocol === "udp"));
    return flows.flatMap(([, protocol, source = "", destination = "", sourcePort, port]) =>
      [destination, old.plan.guestAddress].flatMap((to) => {
        const path: Path = { ...macs, source, destination: to, sourcePort: Number(sourcePort), port: Number(port) };
        if (protocol === "udp") return [ipv4Frame(path, protocols.udp, udpDatagram(path))];
        return [tcpFlags.ack, tcpFlags.ack | tcpFlags.fin, tcpFlags.syn | tcpFlags.ack, tcpFlags.rst].map((flags) =>
          ipv4Frame(path, protocols.tcp, tcpSegment(path, flags)),
        );
      }),
    );
  }
});
