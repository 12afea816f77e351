import { type DropReason, markOf } from "../firewall/drop-reasons.ts";
import type { ProcessRunner } from "../host/process.ts";
import type { NetworkStack } from "../network-stack.ts";
import { inner } from "../slots/address-plan.ts";
import { sceneNetworks } from "./ablations.ts";
import { frameAttacks } from "./frame-attacks.ts";
import { arpRequestFrame, datagramFrame, echoRequestFrame, ipv6Frame, nullSegmentFrame, sendFrames } from "./frames.ts";
import { type Actor, type Ground, makeGround, testConnectionLimit, world } from "./ground.ts";
import { type Guest, plugGuest } from "./guest.ts";

/**
 * Everything an attack can use: the tenants of `sceneNetworks`, and a slot that has links and no elements. The first has the usual
 * limits, the second has none, the third may reach one port of one address.
 */
export interface Scene {
  readonly ground: Ground;
  readonly stack: NetworkStack;
  readonly first: Guest;
  readonly second: Guest;
  readonly listed: Guest;
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
  counter opened { }
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
  chain forwarded { type filter hook forward priority 10;
    iifname "lob-*" ct state new counter name opened
  }
  chain postrouting { type filter hook postrouting priority 200;
    oifname != "lob-*" meta nfproto ipv4 counter name outside
    oifname != "lob-*" ip saddr 10.0.0.0/8 counter name unmasked
  }
}
`;

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

const ports = { counted: 7001, echo: 9000 } as const;
const repeats = 5;

/** A ground with its tenants. Remove the ground when done. */
export async function setScene(): Promise<Scene> {
  const ground = await makeGround();
  try {
    const stack = await ground.openStack();
    await stack.pool.fill(new AbortController().signal);
    for (const { slot, egress, limits } of sceneNetworks)
      await stack.networks.attach({ vmId: String(slot).repeat(32), slot, egress, limits });
    return await populate(ground, stack);
  } catch (error) {
    await ground.remove();
    throw error;
  }
}

async function populate(ground: Ground, stack: NetworkStack): Promise<Scene> {
  await ground.host.run(["nft", "-f", "-"], { input: probes });
  const actors = { hostActor: await ground.actor("host"), internetActor: await ground.actor("internet") };
  const lanActor = await ground.actor("lan");
  const guests = { first: await plugGuest(ground, 0), second: await plugGuest(ground, 1) };
  const [listed, absent] = [await plugGuest(ground, 2), await plugGuest(ground, 3)];
  const scene: Scene = { ground, stack, ...guests, listed, absent, lanActor, ...actors };
  const everyone = [...Object.values(actors), lanActor, ...Object.values(guests).map(({ actor }) => actor)];
  for (const actor of [...everyone, listed.actor, absent.actor]) {
    await actor.count(ports.counted);
    await actor.listen(ports.echo);
  }
  await actors.internetActor.listen(53);
  await actors.internetActor.count(53);
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
  async "flood of packets at the host"(scene: Scene) {
    // The usual limit: a burst of a hundred and what a second adds.
    const fields = { ...slotMacs(scene.first), source: scene.first.plan.guestAddress, destination: world.internet };
    const started = performance.now();
    const through = await fromSlot(
      scene,
      scene.first,
      Array(5000).fill(datagramFrame({ ...fields, port: 10_000 })),
      "raw",
    );
    return excess(through, 100 + (performance.now() - started));
  },
  async "flood of packets to a guest"(scene: Scene) {
    const started = performance.now();
    await scene.hostActor.burst(scene.first.plan.guestAddress, ports.counted, 5000);
    return excess(await scene.first.actor.counted(ports.counted), 100 + (performance.now() - started));
  },
  async "flood of new connections at the host"(scene: Scene) {
    // Few at a time, and forgotten after: it is the rate that holds them off, not their number.
    const frames = await connectionFlood(scene, testConnectionLimit);
    const started = performance.now();
    await passed(scene, "opened");
    for (let round = 0; round < 12; round += 1) {
      await fromSlot(scene, scene.second, frames, "raw");
      await forgetConnections(scene, scene.second);
    }
    const opened = await passed(scene, "opened");
    return excess(opened, 400 + (200 * (performance.now() - started)) / 1000);
  },
  async "flood of connections at the host"(scene: Scene) {
    const through = await fromSlot(
      scene,
      scene.second,
      await connectionFlood(scene, 3 * testConnectionLimit),
      "outside",
    );
    await forgetConnections(scene, scene.second);
    return excess(through, testConnectionLimit);
  },
  async "flood of connections to a guest"(scene: Scene) {
    await scene.hostActor.send(scene.second.plan.guestAddress, ports.counted, 3 * testConnectionLimit);
    await scene.second.actor.counted(ports.counted);
    const entries = Number(await scene.ground.host.run(["conntrack", "-C"]));
    await forgetConnections(scene, scene.second);
    return excess(entries, testConnectionLimit);
  },
  async "flood of connections in the namespace"(scene: Scene) {
    const fields = { ...guestMacs, source: inner.guestAddress, destination: world.internet };
    const frames = Array.from({ length: 3 * testConnectionLimit }, (_, at) =>
      datagramFrame({ ...fields, port: 10_000 + at }),
    );
    await sendFrames(scene.second.runner, "eth0", frames);
    const entries = Number(await scene.second.slot.run(["conntrack", "-C"]));
    await forgetConnections(scene, scene.second);
    return excess(entries, testConnectionLimit);
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
  ...frameAttacks,
} as const satisfies Record<string, (scene: Scene) => Promise<number>>;

/** How far `count` goes beyond what a limit allows, with a tenth for the moments between measuring and sending. */
function excess(count: number, allowed: number): number {
  return Math.max(0, Math.floor(count - allowed * 1.1));
}

/** Datagrams of a slot, each of a connection of its own. */
async function connectionFlood({ second }: Scene, count: number): Promise<Buffer[]> {
  const fields = { ...slotMacs(second), source: second.plan.guestAddress, destination: world.internet };
  return Array.from({ length: count }, (_, at) => datagramFrame({ ...fields, port: 10_000 + at }));
}

async function forgetConnections({ ground }: Scene, guest: Guest): Promise<void> {
  await ground.host.run(["conntrack", "-F"]);
  await guest.slot.run(["conntrack", "-F"]);
}

async function received(runner: ProcessRunner): Promise<number> {
  const text = await runner.run(["ip", "-s", "-j", "link", "show", "dev", "eth0"]);
  const links: Array<{ stats64?: { rx?: { packets?: number } } }> = JSON.parse(text);
  return links[0]?.stats64?.rx?.packets ?? Number.NaN;
}

/** What must work; each answers `echo`. */
export const wanted = {
  "host to guest": (scene: Scene) => scene.hostActor.connect(scene.first.plan.guestAddress, ports.echo, 1500),
  "guest to the internet": (scene: Scene) => scene.first.actor.connect(world.internet, ports.echo, 1500),
  "internet to another network of the host": (scene: Scene) => scene.internetActor.connect(world.lan, ports.echo, 1500),
  "listed guest to what its policy names": (scene: Scene) =>
    scene.listed.actor.connect(world.internet, ports.echo, 1500),
  "guest asks its resolver": (scene: Scene) => scene.first.actor.connect(world.resolver, 53, 1500),
  async "guest pings the internet"(scene: Scene) {
    const frame = echoRequestFrame({ ...guestMacs, source: inner.guestAddress, destination: world.internet });
    const before = await received(scene.first.runner);
    await sendFrames(scene.first.runner, "eth0", [frame]);
    return (await received(scene.first.runner)) > before ? "echo" : "silence";
  },
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

/** Reasons that are counted by tenant; each answers what it counted for what is done here. */
export const counted = {
  async "denied-range"(scene: Scene) {
    const fields = { ...slotMacs(scene.first), source: scene.first.plan.guestAddress, port: ports.counted };
    await fromSlot(scene, scene.first, many(datagramFrame({ ...fields, destination: "10.1.2.3" })), "raw");
    return await dropped(scene, scene.first, "denied-range");
  },
  async "received-packets"(scene: Scene) {
    await scene.hostActor.burst(scene.first.plan.guestAddress, ports.counted, 2000);
    await scene.first.actor.counted(ports.counted);
    return await dropped(scene, scene.first, "received-packets");
  },
} as const satisfies Partial<Record<DropReason, (scene: Scene) => Promise<number>>>;

/** What the host's rules count for a slot, as nft lists it. */
async function dropped({ ground }: Scene, { plan }: Guest, reason: DropReason): Promise<number> {
  const mark = markOf(reason).toString(16).padStart(8, "0");
  const text = await ground.host.run(["nft", "list", "set", "inet", "lobsterd", "drops"]);
  return Number(new RegExp(`"${plan.hostInterface}" . 0x${mark} counter packets (\\d+)`).exec(text)?.[1] ?? 0);
}

const closedPort = `
socket(my $s, PF_INET, SOCK_DGRAM, 0) or die;
connect($s, sockaddr_in(7999, inet_aton($ARGV[0]))) or die;
send($s, "x", 0);
my $ready = ""; vec($ready, fileno($s), 1) = 1;
select($ready, undef, undef, 1.5) or do { print "silence"; exit };
print defined(recv($s, my $data, 10, 0)) ? "data" : $!{ECONNREFUSED} ? "refused" : "$!";
`;
