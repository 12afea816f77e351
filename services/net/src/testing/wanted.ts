import { type DropReason, markOf } from "../firewall/drop-reasons.ts";
import { inner } from "../slots/address-plan.ts";
import { datagramFrame, echoRequestFrame, sendFrames } from "./frames.ts";
import { world } from "./ground.ts";
import type { Guest } from "./guest.ts";
import { received } from "./reach.ts";
import { fromSlot, guestMacs, many, ports, type Scene, slotMacs } from "./scene.ts";

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
