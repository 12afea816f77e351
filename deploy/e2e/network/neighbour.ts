import assert from "node:assert/strict";
import { sendFrames } from "../../../services/net/src/testing/frames.ts";
import type { Path } from "../../../services/net/src/testing/packets.ts";
import { linkMac } from "../../../services/net/src/testing/reach.ts";
import {
  echoRequestFrame,
  fragmentTricks,
  optionFrames,
  synFrame,
  tunnelFrames,
  udpFrame,
  unaskedReplies,
} from "../../../services/net/src/testing/tricks.ts";
import { uplink } from "../../dev/outside.ts";
import { assertNothingPassed, type Field, measure, type Origin } from "./field.ts";

const guestsNetwork = "10.201.0.0/16";
const ports = [22, 52, 7443, 9000];

/** Sends guests whatever a neighbour could, by its own stack and by frames, under its own address and under trusted ones. */
export async function knockFromOutside(field: Field): Promise<void> {
  const { outside, host, outsideActor, attackers } = field;
  const route = ["route", "replace", guestsNetwork, "via", uplink.address];
  await outside.runner.run(["ip", ...route]);
  const macs = {
    destinationMac: await linkMac(host.runner, uplink.link),
    sourceMac: await linkMac(outside.runner, uplink.outsideLink),
  };
  const frames = attackers.flatMap(({ plan }) =>
    [uplink.outsideAddress, plan.hostAddress, attackers[0].plan.guestAddress, uplink.address].flatMap((source) =>
      ports.flatMap((port) => {
        const path: Path = { ...macs, source, destination: plan.guestAddress, port };
        const tricks = [...fragmentTricks(path), ...tunnelFrames(path), ...unaskedReplies(path)];
        return [
          synFrame(path),
          udpFrame(path),
          echoRequestFrame(path),
          ...tricks,
          ...optionFrames(path, plan.hostAddress),
        ];
      }),
    ),
  );
  const targets = attackers.flatMap(({ plan }) =>
    ports.flatMap((port) => (["tcp", "udp"] as const).map((protocol) => ({ protocol, host: plan.guestAddress, port }))),
  );
  const origin: Origin = { vantage: outside, link: uplink.outsideLink, direction: "out" };
  try {
    const outcome = await measure(field, origin, frames.length + targets.length, async () => {
      await sendFrames(outside.runner, uplink.outsideLink, frames);
      const outcomes = await outsideActor.connectAll({ targets });
      assert.ok(!outcomes.includes("echo"), outcomes.join(" "));
    });
    assertNothingPassed(outcome, frames.length + targets.length);
  } finally {
    await outside.runner.run(["ip", "route", "delete", guestsNetwork]);
  }
}
