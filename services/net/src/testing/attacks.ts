import type { ProcessRunner } from "../host/process.ts";
import { inner } from "../slots/address-plan.ts";
import { arpRequestFrame, datagramFrame, ipv6Frame, nullSegmentFrame, sendFrames } from "./frames.ts";
import { type Actor, type Ground, world } from "./ground.ts";
import { type Guest, plugGuest } from "./guest.ts";

/** Everything an attack can use. Slots 0 and 1 have tenants, slot 2 has links and no elements. */
export interface Scene {
  readonly ground: Ground;
  readonly first: Guest;
  readonly second: Guest;
  readonly absent: Guest;
  readonly hostActor: Actor;
  readonly internetActor: Actor;
  readonly lanActor: Actor;
}

/** What passed, counted behind our rules by tables of the test's own. */
const probes = `
table inet probe {
  counter arrived { }
  counter raw { }
  counter ipv6 { }
  counter input { }
  counter outside { }
  counter unmasked { }
  chain arrival { type filter hook prerouting priority -350;
    iifname "lob-*" counter name arrived
  }
  chain prerouting { type filter hook prerouting priority -290;
    iifname "lob-*" counter name raw
    iifname "lob-*" meta nfproto ipv6 counter name ipv6
  }
  chain input { type filter hook input priority 10;
    iifname "lob-*" meta l4proto { udp, icmp } counter name input
  }
  chain postrouting { type filter hook postrouting priority 200;
    oifname != "lob-*" counter name outside
    oifname != "lob-*" ip saddr 10.0.0.0/8 counter name unmasked
  }
}
`;

const ports = { counted: 7001, echo: 9000 } as const;
const repeats = 5;

export async function setScene(ground: Ground): Promise<Scene> {
  await ground.host.run(["nft", "-f", "-"], { input: probes });
  const actors = { hostActor: await ground.actor("host"), internetActor: await ground.actor("internet") };
  const lanActor = await ground.actor("lan");
  const [first, second, absent] = [await plugGuest(ground, 0), await plugGuest(ground, 1), await plugGuest(ground, 2)];
  const scene: Scene = { ground, first, second, absent, lanActor, ...actors };
  for (const actor of [actors.hostActor, actors.internetActor, lanActor, first.actor, second.actor, absent.actor]) {
    await actor.count(ports.counted);
    await actor.listen(ports.echo);
  }
  return scene;
}

/** Packets since the last call that passed counter `name`. */
async function passed({ ground }: Scene, name: string): Promise<number> {
  const text = await ground.host.run(["nft", "reset", "counter", "inet", "probe", name]);
  return Number(/packets (\d+)/.exec(text)?.[1] ?? Number.NaN);
}

/** Sends frames from a guest and returns how many left its namespace. */
async function fromGuest(scene: Scene, guest: Guest, frames: readonly Buffer[]): Promise<number> {
  await passed(scene, "arrived");
  await sendFrames(guest.runner, "eth0", frames);
  return await settled(scene, "arrived");
}

/** Sends frames from inside the slot's namespace, behind its rules, and returns how many got past the host's counter. */
async function fromSlot(scene: Scene, guest: Guest, frames: readonly Buffer[], counter: string): Promise<number> {
  await passed(scene, counter);
  await sendFrames(guest.slot, inner.uplink, frames);
  return await settled(scene, counter);
}

// Veth and forwarding are synchronous in the sender's softirq; one command later everything has arrived.
async function settled(scene: Scene, counter: string): Promise<number> {
  await scene.ground.host.run(["true"]);
  return await passed(scene, counter);
}

function many(frame: Buffer): Buffer[] {
  return Array.from({ length: repeats }, () => frame);
}

const guestMacs = { destinationMac: inner.gatewayMac, sourceMac: inner.guestMac };

function slotMacs({ plan }: Guest): { destinationMac: string; sourceMac: string } {
  return { destinationMac: plan.hostMac, sourceMac: plan.slotMac };
}

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
    await passed(scene, "input");
    await scene.first.actor.send(scene.first.plan.hostAddress, ports.counted, repeats);
    await scene.first.actor.send(world.host, ports.counted, repeats);
    return await settled(scene, "input");
  },
  async "guest to guest"(scene: Scene) {
    await scene.first.actor.send(scene.second.plan.guestAddress, ports.counted, repeats);
    await scene.second.actor.send(scene.first.plan.guestAddress, ports.counted, repeats);
    return (await scene.second.actor.counted(ports.counted)) + (await scene.first.actor.counted(ports.counted));
  },
  async "guest to denied ranges"(scene: Scene) {
    for (const address of [
      "100.100.100.200",
      "169.254.169.254",
      "168.63.129.16",
      "192.168.1.1",
      "172.16.0.1",
      "198.18.0.1",
    ])
      await scene.first.actor.send(address, ports.counted, 1);
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
  async "flood of connections at the host"(scene: Scene) {
    const { guestAddress: source } = scene.second.plan;
    const frames = Array.from({ length: 1500 }, (_, at) =>
      datagramFrame({ ...slotMacs(scene.second), source, destination: world.internet, port: 10_000 + at }),
    );
    const through = await fromSlot(scene, scene.second, frames, "outside");
    await scene.ground.host.run(["conntrack", "-D", "--orig-src", source]);
    return Math.max(0, through - 1024);
  },
  async "flood of connections in the namespace"(scene: Scene) {
    const fields = { ...guestMacs, source: inner.guestAddress, destination: "100.64.0.1" };
    const frames = Array.from({ length: 1500 }, (_, at) => datagramFrame({ ...fields, port: 10_000 + at }));
    await sendFrames(scene.second.runner, "eth0", frames);
    const entries = Number(await scene.second.slot.run(["conntrack", "-C"]));
    await scene.second.slot.run(["conntrack", "-F"]);
    return Math.max(0, entries - 1024);
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
} as const satisfies Record<string, (scene: Scene) => Promise<number>>;

async function received(runner: ProcessRunner): Promise<number> {
  const text = await runner.run(["ip", "-s", "-j", "link", "show", "dev", "eth0"]);
  const links: Array<{ stats64?: { rx?: { packets?: number } } }> = JSON.parse(text);
  return links[0]?.stats64?.rx?.packets ?? Number.NaN;
}

/** What must work; each answers `echo`. */
export const wanted = {
  "host to guest": (scene: Scene) => scene.hostActor.connect(scene.first.plan.guestAddress, ports.echo, 1500),
  "guest to the internet": (scene: Scene) => scene.first.actor.connect(world.internet, ports.echo, 1500),
  "internet to host": (scene: Scene) => scene.internetActor.connect(world.host, ports.echo, 1500),
  async "guest resolves its gateway"(scene: Scene) {
    await scene.first.runner.run(["ip", "neighbour", "flush", "dev", "eth0"]);
    return await scene.first.actor.connect(world.internet, ports.echo, 1500);
  },
  async "host learns of a closed port"(scene: Scene) {
    const { guestAddress } = scene.first.plan;
    // A datagram to a closed port is answered by an ICMP error that belongs to the host's own flow.
    const text = await scene.ground.host.run(["perl", "-MSocket", "-e", closedPort, guestAddress]);
    return text === "refused" ? "echo" : text;
  },
} as const satisfies Record<string, (scene: Scene) => Promise<string>>;

const closedPort = `
socket(my $s, PF_INET, SOCK_DGRAM, 0) or die;
connect($s, sockaddr_in(7999, inet_aton($ARGV[0]))) or die;
send($s, "x", 0);
my $ready = ""; vec($ready, fileno($s), 1) = 1;
select($ready, undef, undef, 1.5) or do { print "silence"; exit };
print defined(recv($s, my $data, 10, 0)) ? "data" : $!{ECONNREFUSED} ? "refused" : "$!";
`;
