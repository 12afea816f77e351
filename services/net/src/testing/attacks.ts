import type { ProcessRunner } from "../host/process.ts";
import { inner } from "../slots/address-plan.ts";
import { floods } from "./floods.ts";
import { frameAttacks } from "./frame-attacks.ts";
import { arpRequestFrame, datagramFrame, ipv6Frame, nullSegmentFrame, sendFrames } from "./frames.ts";
import { world } from "./ground.ts";
import { received } from "./reach.ts";
import {
  fromGuest,
  fromSlot,
  guestMacs,
  many,
  passed,
  ports,
  repeats,
  type Scene,
  settled,
  slotMacs,
} from "./scene.ts";

/** One address of each range that no policy opens, and the metadata services that clouds have in them. */
const deniedTargets = [
  "0.1.2.3",
  "10.1.2.3",
  "100.64.0.1",
  "100.100.100.200",
  "168.63.129.16",
  "169.254.169.254",
  "172.16.0.1",
  "192.0.0.192",
  "192.0.2.1",
  "192.88.99.1",
  "192.168.1.1",
  "198.18.0.1",
  "198.51.100.1",
  "203.0.113.1",
  "224.0.0.251",
  "240.0.0.1",
  "255.255.255.254",
];

async function neighbours(runner: ProcessRunner, link: string): Promise<number> {
  const text = await runner.run(["ip", "-4", "neighbour", "show", "dev", link]);
  return text.split("\n").filter((line) => line !== "" && !line.includes("PERMANENT")).length;
}

/** Requests for `target` that claim thirty addresses, in frames of the real sender. */
function forgedArp(target: string, sourceMac: string): Buffer[] {
  return Array.from({ length: 30 }, (_, at) => {
    const senderMac = `06:00:00:00:01:${(at + 16).toString(16)}`;
    const sender = `${target.slice(0, target.lastIndexOf("."))}.${at + 100}`;
    return arpRequestFrame({ destinationMac: "ff:ff:ff:ff:ff:ff", sourceMac, senderMac, sender, target });
  });
}

/** Packets that got through where none may. */
export const attacks = {
  async "guest to host"(scene: Scene) {
    // Sent behind the slot's rules, which refuse these addresses too.
    const fields = { ...slotMacs(scene.first), source: scene.first.plan.guestAddress, port: ports.counted };
    const targets = [scene.first.plan.hostAddress, scene.second.plan.hostAddress, world.host, "46.0.0.1"];
    const frames = targets.map((destination) => datagramFrame({ ...fields, destination }));
    return await fromSlot(scene, scene.first, frames, "input");
  },
  async "guest to guest"(scene: Scene) {
    await scene.first.actor.send(scene.second.plan.guestAddress, ports.counted, repeats);
    await scene.second.actor.send(scene.first.plan.guestAddress, ports.counted, repeats);
    return (await scene.second.actor.counted(ports.counted)) + (await scene.first.actor.counted(ports.counted));
  },
  async "guest to guest at the host"(scene: Scene) {
    const fields = { ...slotMacs(scene.first), source: scene.first.plan.guestAddress, port: ports.counted };
    await fromSlot(
      scene,
      scene.first,
      many(datagramFrame({ ...fields, destination: scene.second.plan.guestAddress })),
      "raw",
    );
    return await scene.second.actor.counted(ports.counted);
  },
  async "denied ranges at the host"(scene: Scene) {
    const fields = { ...slotMacs(scene.first), source: scene.first.plan.guestAddress, port: ports.counted };
    const frames = deniedTargets.map((destination) => datagramFrame({ ...fields, destination }));
    return await fromSlot(scene, scene.first, frames, "outside");
  },
  async "denied ranges in the namespace"(scene: Scene) {
    const fields = { ...guestMacs, source: inner.guestAddress, port: ports.counted };
    const targets = [...deniedTargets, world.host, scene.second.plan.guestAddress];
    return await fromGuest(
      scene,
      scene.first,
      targets.map((destination) => datagramFrame({ ...fields, destination })),
    );
  },
  async "guest to another resolver"(scene: Scene) {
    await scene.first.actor.send(world.internet, 53, repeats);
    return await scene.internetActor.counted(53);
  },
  async "listed guest to elsewhere"(scene: Scene) {
    await scene.listed.actor.send(world.internet, ports.counted, repeats);
    return await scene.internetActor.counted(ports.counted);
  },
  async "guest to another network of the host"(scene: Scene) {
    await scene.first.actor.send(world.lan, ports.counted, repeats);
    return await scene.lanActor.counted(ports.counted);
  },
  async "neighbour on the uplink to guest"(scene: Scene) {
    await scene.internetActor.send(scene.first.plan.guestAddress, ports.counted, repeats);
    return await scene.first.actor.counted(ports.counted);
  },
  async "host to a slot without elements"(scene: Scene) {
    await scene.hostActor.send(scene.absent.plan.guestAddress, ports.counted, repeats);
    return await scene.absent.actor.counted(ports.counted);
  },
  async "host to a guest whose link is gone"(scene: Scene) {
    await passed(scene, "outside");
    // Of a slot that this host does not have.
    await scene.hostActor.send("10.201.1.1", ports.counted, repeats);
    await scene.hostActor.connect("10.201.1.1", ports.echo, 200);
    return await settled(scene, "outside");
  },
  async "slot without elements to anywhere"(scene: Scene) {
    await passed(scene, "raw");
    await scene.absent.actor.send(world.internet, ports.counted, repeats);
    return await settled(scene, "raw");
  },
  async "forged source at the host"(scene: Scene) {
    const fields = { ...slotMacs(scene.first), destination: world.internet, port: ports.counted };
    const forged = [
      datagramFrame({ ...fields, source: "10.201.0.99" }),
      datagramFrame({ ...fields, source: "45.0.0.77" }),
      datagramFrame({ ...fields, source: scene.first.plan.guestAddress, sourceMac: "06:00:00:00:00:99" }),
      datagramFrame({ ...fields, source: scene.second.plan.guestAddress }),
    ];
    return await fromSlot(scene, scene.first, forged, "raw");
  },
  async "ipv6 at the host"(scene: Scene) {
    // Off on the link as well; switched on here, so that this shows the rule.
    const link = scene.first.plan.hostInterface;
    const path = `/proc/sys/net/ipv6/conf/${link}/disable_ipv6`;
    await scene.ground.host.run(["tee", path], { input: "0\n" });
    try {
      const frame = ipv6Frame({ ...slotMacs(scene.first), destinationMac: "33:33:00:00:00:01" });
      return await fromSlot(scene, scene.first, many(frame), "ipv6");
    } finally {
      await scene.ground.host.run(["tee", path], { input: "1\n" });
    }
  },
  async "forged arp senders at the host"(scene: Scene) {
    const { hostAddress, hostInterface } = scene.first.plan;
    await sendFrames(scene.first.slot, inner.uplink, forgedArp(hostAddress, scene.first.plan.slotMac));
    const count = await neighbours(scene.ground.host, hostInterface);
    return count;
  },
  async "invalid segment at the host"(scene: Scene) {
    const { guestAddress: source } = scene.first.plan;
    const fields = { ...slotMacs(scene.first), source, destination: world.internet, port: ports.counted };
    return await fromSlot(scene, scene.first, many(nullSegmentFrame(fields)), "outside");
  },
  async "forged mac"(scene: Scene) {
    const fields = { ...guestMacs, source: inner.guestAddress, destination: world.internet, port: ports.counted };
    const frame = datagramFrame({ ...fields, sourceMac: "06:00:00:00:00:99" });
    return await fromGuest(scene, scene.first, many(frame));
  },
  async "forged address"(scene: Scene) {
    const fields = { ...guestMacs, destination: world.internet, port: ports.counted };
    const sources = ["10.77.0.99", "10.201.0.3", "45.0.0.77", "127.0.0.1"];
    const frames = sources.map((source) => datagramFrame({ ...fields, source }));
    return await fromGuest(scene, scene.first, frames);
  },
  async "tagged frames"(scene: Scene) {
    const fields = { ...guestMacs, source: inner.guestAddress, destination: world.internet, port: ports.counted };
    const frames = [datagramFrame({ ...fields, vlan: 0 }), datagramFrame({ ...fields, vlan: 5 })];
    return await fromGuest(scene, scene.first, frames);
  },
  async "ip options"(scene: Scene) {
    const fields = { ...guestMacs, source: inner.guestAddress, destination: world.internet, port: ports.counted };
    // No operation; record route; loose source route.
    const frames = ["01010101", "07070400000000", "83070445000001"].map((options) =>
      datagramFrame({ ...fields, options }),
    );
    return await fromGuest(scene, scene.first, frames);
  },
  async "tunnelled protocol"(scene: Scene) {
    const fields = { ...guestMacs, source: inner.guestAddress, destination: world.internet, port: ports.counted };
    const frames = [41, 4, 47, 50, 132].map((protocol) => datagramFrame({ ...fields, protocol }));
    return await fromGuest(scene, scene.first, frames);
  },
  async "invalid segment in the namespace"(scene: Scene) {
    const fields = { ...guestMacs, source: inner.guestAddress, destination: world.internet, port: ports.counted };
    return await fromGuest(scene, scene.first, many(nullSegmentFrame(fields)));
  },
  async "forged arp senders in the namespace"(scene: Scene) {
    await sendFrames(scene.first.runner, "eth0", forgedArp(inner.gatewayAddress, inner.guestMac));
    return await neighbours(scene.first.slot, inner.tap);
  },
  async "guest to its namespace"(scene: Scene) {
    const actor = await scene.ground.actor("guest0");
    const answer = await actor.connect(inner.gatewayAddress, 1, 300);
    await actor.close();
    // A refusal is an answer of the namespace's own.
    return answer === "timeout" ? 0 : 1;
  },
  async "guest to itself by way of the namespace"(scene: Scene) {
    const { guestAddress: address } = inner;
    const frame = datagramFrame({ ...guestMacs, source: address, destination: address, port: ports.counted });
    const before = await received(scene.first.runner);
    await sendFrames(scene.first.runner, "eth0", many(frame));
    return (await received(scene.first.runner)) - before;
  },
  async "inner address on the uplink"(scene: Scene) {
    await passed(scene, "unmasked");
    await scene.first.actor.send(world.internet, ports.counted, repeats);
    await scene.internetActor.counted(ports.counted);
    return await passed(scene, "unmasked");
  },
  ...floods,
  ...frameAttacks,
} as const satisfies Record<string, (scene: Scene) => Promise<number>>;
