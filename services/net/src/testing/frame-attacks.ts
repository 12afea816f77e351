import { setTimeout as delay } from "node:timers/promises";
import type { ProcessRunner } from "../host/process.ts";
import { inner } from "../slots/address-plan.ts";
import { sendFrames } from "./frames.ts";
import { testConnectionLimit, world } from "./ground.ts";
import { icmpError, ipv4Frame, type Path } from "./packets.ts";
import {
  guestFields,
  learned,
  leftNamespace,
  linkMac,
  reached,
  reachedFromGuest,
  reachedFromSlot,
  received,
  slotFields,
  trackedCount,
} from "./reach.ts";
import type { Scene } from "./scene.ts";
import {
  arpProbes,
  echoRequestFrame,
  forgedArpSenders,
  forgedSources,
  fragmentTricks,
  ipv6Frames,
  multicastFrames,
  optionFrames,
  protocols,
  synFrame,
  taggedFrames,
  tinyFirstFragments,
  tunnelFrames,
  unaskedReplies,
} from "./tricks.ts";

const port = 7001;
const deniedSamples = ["10.0.0.1", "100.100.100.200", "169.254.169.254", "172.16.0.1", "192.168.1.1", "198.18.0.1"];

function fromGuest(destination: string): Path {
  return { ...guestFields, destination, port };
}

async function setting(runner: ProcessRunner, name: string, value: string): Promise<void> {
  await runner.run(["sysctl", "--quiet", "--write", `${name}=${value}`]);
}

/** What a namespace sends by itself when the rest of a fragment does not come, which is made to take one second. */
async function afterReassembly(runner: ProcessRunner, attack: () => Promise<unknown>): Promise<void> {
  await setting(runner, "net.ipv4.ipfrag_time", "1");
  try {
    await attack();
    await delay(1500);
  } finally {
    await setting(runner, "net.ipv4.ipfrag_time", "30");
  }
}

/** Ports of the one connection that `runner`'s namespace tracks between two addresses. */
async function portsBetween(runner: ProcessRunner, source: string, destination: string): Promise<[number, number]> {
  const text = await runner.run(["conntrack", "-L", "-p", "tcp", "--orig-src", source, "--orig-dst", destination]);
  const [, near, far] = /ESTABLISHED .*?sport=(\d+) dport=(\d+)/.exec(text) ?? [];
  if (near === undefined) throw new Error(`no connection from ${source} to ${destination}`);
  return [Number(near), Number(far)];
}

/** How many more connections than `limit` a namespace tracks for `source`; they are forgotten. */
async function trackedOver(limit: number, runner: ProcessRunner, source: string): Promise<number> {
  const text = await runner.run(["conntrack", "-L", "--orig-src", source]);
  await runner.run(["conntrack", "-D", "--orig-src", source]);
  return Math.max(0, text.split("\n").filter((line) => line !== "").length - limit);
}

const errorKinds = [
  [3, 1],
  [3, 4],
  [11, 0],
] as const;

function errorsAbout(to: Path, quoted: Path): Buffer[] {
  return errorKinds.map(([type, code]) => ipv4Frame(to, protocols.icmp, icmpError(type, code, quoted, protocols.tcp)));
}

/** Frames that no honest kernel sends; each says how many packets got through where none may. */
export const frameAttacks = {
  async "fragments to the host"(scene: Scene) {
    const frames = [world.host, scene.first.plan.hostAddress].flatMap((address) => fragmentTricks(fromGuest(address)));
    return await reachedFromGuest(scene, scene.first, frames);
  },
  async "fragments to another guest"(scene: Scene) {
    const { guestAddress: destination } = scene.second.plan;
    const bySlot = fragmentTricks({ ...slotFields(scene.first), destination, port });
    const count = await reachedFromGuest(scene, scene.first, fragmentTricks(fromGuest(destination)));
    return count + (await reachedFromSlot(scene, scene.first, bySlot));
  },
  async "fragments to denied ranges"(scene: Scene) {
    const frames = deniedSamples.flatMap((address) => fragmentTricks(fromGuest(address)));
    return await reachedFromGuest(scene, scene.first, frames);
  },
  async "fragments whose rest never comes, to the namespace"(scene: Scene) {
    const before = await received(scene.first.runner);
    await afterReassembly(scene.first.slot, () =>
      sendFrames(scene.first.runner, "eth0", tinyFirstFragments(fromGuest(inner.gatewayAddress))),
    );
    return (await received(scene.first.runner)) - before;
  },
  async "fragments whose rest never comes, to the host"(scene: Scene) {
    const path = { ...slotFields(scene.first), destination: scene.first.plan.hostAddress, port };
    return await reached(scene, () =>
      afterReassembly(scene.ground.host, () => sendFrames(scene.first.slot, inner.uplink, tinyFirstFragments(path))),
    );
  },
  async "options out of the namespace"(scene: Scene) {
    const frames = optionFrames(fromGuest(world.internet), scene.second.plan.guestAddress);
    return await leftNamespace(scene, scene.first, frames);
  },
  async "options out of the host"(scene: Scene) {
    const path = { ...slotFields(scene.first), destination: world.internet, port };
    return await reachedFromSlot(scene, scene.first, optionFrames(path, scene.second.plan.guestAddress));
  },
  async "options to guests and by way of the host"(scene: Scene) {
    const { guestAddress } = scene.second.plan;
    const victims = [guestAddress, scene.first.plan.hostAddress, world.host];
    const frames = victims.flatMap((address) => optionFrames(fromGuest(address), guestAddress));
    const bySlot = victims.flatMap((destination) =>
      optionFrames({ ...slotFields(scene.first), destination, port }, guestAddress),
    );
    const count = await reachedFromGuest(scene, scene.first, frames);
    return count + (await reachedFromSlot(scene, scene.first, bySlot));
  },
  async "tags of every kind"(scene: Scene) {
    return await reachedFromGuest(scene, scene.first, taggedFrames(fromGuest(world.internet)));
  },
  async "tunnels and raw protocols"(scene: Scene) {
    const frames = [world.internet, scene.second.plan.guestAddress].flatMap((address) =>
      tunnelFrames(fromGuest(address)),
    );
    return await reachedFromGuest(scene, scene.first, frames);
  },
  async "every message of ipv6"(scene: Scene) {
    const count = await reachedFromGuest(scene, scene.first, ipv6Frames(guestFields));
    return count + (await reachedFromSlot(scene, scene.first, ipv6Frames(slotFields(scene.first))));
  },
  async "multicast and broadcast"(scene: Scene) {
    const path = { ...slotFields(scene.first), destination: scene.first.plan.hostAddress, port };
    const count = await reachedFromGuest(scene, scene.first, multicastFrames(fromGuest(world.internet)));
    return count + (await reachedFromSlot(scene, scene.first, multicastFrames(path)));
  },
  async "replies that nobody asked for"(scene: Scene) {
    const { hostAddress } = scene.first.plan;
    const bySlot = unaskedReplies({ ...slotFields(scene.first), destination: hostAddress, port });
    const byGuest = [hostAddress, world.host].flatMap((address) => unaskedReplies(fromGuest(address)));
    const count = await reachedFromGuest(scene, scene.first, byGuest);
    return count + (await reachedFromSlot(scene, scene.first, bySlot));
  },
  async "errors about the host's connection with another guest"(scene: Scene) {
    const { first, second } = scene;
    const { hostAddress, guestAddress } = second.plan;
    if ((await scene.hostActor.hold(guestAddress, 9000)) !== "echo") throw new Error("the host reaches no guest");
    const [sourcePort, toPort] = await portsBetween(scene.ground.host, hostAddress, guestAddress);
    const quoted = (fields: typeof guestFields | ReturnType<typeof slotFields>): Path => ({
      ...fields,
      source: hostAddress,
      sourcePort,
      destination: guestAddress,
      port: toPort,
    });
    const path = { ...slotFields(first), destination: hostAddress, port };
    const count = await reachedFromGuest(scene, first, errorsAbout(fromGuest(hostAddress), quoted(guestFields)));
    return count + (await reachedFromSlot(scene, first, errorsAbout(path, quoted(slotFields(first)))));
  },
  async "errors about another guest's connection with the internet"(scene: Scene) {
    const { first, second } = scene;
    if ((await second.actor.hold(world.internet, 9000)) !== "echo") throw new Error("a guest reaches no internet");
    const [sourcePort, toPort] = await portsBetween(scene.ground.host, second.plan.guestAddress, world.internet);
    const quoted = { source: world.internet, sourcePort: toPort, destination: world.host, port: sourcePort };
    const path = { ...slotFields(first), destination: world.internet, port };
    const byGuest = errorsAbout(fromGuest(world.internet), { ...guestFields, ...quoted });
    const count = await reachedFromGuest(scene, first, byGuest);
    return count + (await reachedFromSlot(scene, first, errorsAbout(path, { ...slotFields(first), ...quoted })));
  },
  async "connections opened and closed, one after another"(scene: Scene) {
    const { second, ground } = scene;
    // Netfilter does not count a closed connection against a limit, but tracks it for two minutes more.
    for (let batch = 0; batch < 20; batch++) {
      await Promise.all(Array.from({ length: 100 }, () => second.actor.connect(world.internet, 9000, 400)));
    }
    // What may be open, and what two seconds may open.
    const allowed = testConnectionLimit + 2 * 200;
    const inSlot = await trackedOver(allowed, second.slot, inner.guestAddress);
    return inSlot + (await trackedOver(allowed, ground.host, second.plan.guestAddress));
  },
  async "10,000 forged sources at the host"(scene: Scene) {
    const before = await trackedCount(scene.ground.host);
    const path = { ...slotFields(scene.first), destination: world.internet, port };
    const count = await reachedFromSlot(scene, scene.first, forgedSources(path, 10_000));
    return count + Math.max(0, (await trackedCount(scene.ground.host)) - before);
  },
  async "10,000 forged sources in the namespace"(scene: Scene) {
    const before = await trackedCount(scene.first.slot);
    const count = await reachedFromGuest(scene, scene.first, forgedSources(fromGuest(world.internet), 10_000));
    return count + Math.max(0, (await trackedCount(scene.first.slot)) - before);
  },
  async "300 forged arp senders at the host"(scene: Scene) {
    const { hostAddress, hostInterface } = scene.first.plan;
    await sendFrames(scene.first.slot, inner.uplink, forgedArpSenders(slotFields(scene.first), hostAddress, 300));
    return await learned(scene.ground.host, hostInterface);
  },
  async "300 forged arp senders in the namespace"(scene: Scene) {
    await sendFrames(scene.first.runner, "eth0", forgedArpSenders(guestFields, inner.gatewayAddress, 300));
    return await learned(scene.first.slot, inner.tap);
  },
  async "arp probes for everybody else"(scene: Scene) {
    const { first, second } = scene;
    const others = [first.plan.hostAddress, first.plan.guestAddress, second.plan.hostAddress, second.plan.guestAddress];
    const targets = [...others, world.host, world.internet, world.lan, "10.77.0.3", "169.254.169.254"];
    const byGuest = await reachedFromGuest(scene, first, arpProbes(guestFields, inner.guestAddress, targets));
    const before = await received(first.slot, inner.uplink);
    await sendFrames(first.slot, inner.uplink, arpProbes(slotFields(first), first.plan.guestAddress, targets));
    return byGuest + (await received(first.slot, inner.uplink)) - before;
  },
  async "neighbour on the uplink by every protocol"(scene: Scene) {
    const { host, internet } = scene.ground;
    const macs = { destinationMac: await linkMac(host, world.uplink), sourceMac: await linkMac(internet, "eth0") };
    const { guestAddress: destination, hostAddress } = scene.first.plan;
    const frames = [world.internet, hostAddress, scene.second.plan.guestAddress].flatMap((source) => {
      const path = { ...macs, source, destination, port: 9000 };
      const tricks = [...fragmentTricks(path), ...tunnelFrames(path), ...unaskedReplies(path)];
      return [synFrame(path), echoRequestFrame(path), ...tricks, ...optionFrames(path, hostAddress)];
    });
    return await reached(scene, () => sendFrames(internet, "eth0", frames));
  },
} as const satisfies Record<string, (scene: Scene) => Promise<number>>;
