import { type Ruleset, renderRuleset } from "../firewall/ruleset.ts";
import { slotRuleset } from "../firewall/slot-ruleset.ts";
import { createProcessRunner, type ProcessRunner } from "../host/process.ts";
import { inner, namespacePath, planSlot, type SlotPlan } from "../slots/address-plan.ts";
import { type Actor, type Ground, testConnectionLimit, world } from "./ground.ts";

/** Of the namespace in place of the host, less those of slots. */
export const hostAddresses = [world.host, "46.0.0.1"];

/** The rules of a slot in the test's world. */
export const wholeSlotRuleset = slotRuleset({
  connectionLimit: testConnectionLimit,
  resolverAddresses: [world.resolver],
  hostAddresses,
});

/** A namespace in place of a microVM. */
export interface Guest {
  readonly plan: SlotPlan;
  readonly actor: Actor;
  /** In the guest, where `eth0` is its link. */
  readonly runner: ProcessRunner;
  /** In the slot's namespace, where a guest that broke out of its VMM would be. */
  readonly slot: ProcessRunner;
  loadSlotRules(ruleset: Ruleset): Promise<void>;
}

/**
 * Puts a namespace with a kernel of its own behind slot `slot`. A veth of the tap's name takes the tap's place, since a tap
 * needs a process that moves its frames; the slot's own rules are loaded for it as they are for the tap.
 */
export async function plugGuest(ground: Ground, slot: number, name: string = `guest${slot}`): Promise<Guest> {
  const runner = await ground.namespace(name);
  const within = createProcessRunner(namespacePath(ground.netnsDir, slot));
  const loadSlotRules = async (ruleset: Ruleset): Promise<void> => {
    await within.run(["nft", "-f", "-"], { input: renderRuleset(ruleset) });
  };
  await within.run(["ip", "-batch", "-"], {
    input: [
      `link delete dev ${inner.tap}`,
      `link add name ${inner.tap} address ${inner.gatewayMac} type veth peer name eth0 netns ${ground.path(name)} address ${inner.guestMac}`,
      `address add ${inner.gatewayAddress}/${inner.prefixLength} dev ${inner.tap}`,
      `link set dev ${inner.tap} up`,
      `neighbour replace ${inner.guestAddress} lladdr ${inner.guestMac} nud permanent dev ${inner.tap}`,
      "",
    ].join("\n"),
  });
  await runner.run(["ip", "-batch", "-"], {
    input: [
      "link set dev lo up",
      `address add ${inner.guestAddress}/${inner.prefixLength} dev eth0`,
      "link set dev eth0 up",
      `route add default via ${inner.gatewayAddress} dev eth0`,
      "",
    ].join("\n"),
  });
  await loadSlotRules(wholeSlotRuleset);
  return { plan: planSlot(slot), runner, slot: within, actor: await ground.actor(name), loadSlotRules };
}
