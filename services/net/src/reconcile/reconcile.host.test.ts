import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { elementText } from "../firewall/set-element.ts";
import { elementsOf, type TenantSet } from "../firewall/tenant-elements.ts";
import { createProcessRunner } from "../host/process.ts";
import { migrations, openNetworkStore } from "../networks/network-store.ts";
import { inner, namespacePath, planSlot } from "../slots/address-plan.ts";
import { cannotRun, type Ground, makeGround, usual, world } from "../testing/ground.ts";
import { plugGuest } from "../testing/guest.ts";

const vm = (slot: number): string => slot.toString(16).padStart(32, "0");
const never = new AbortController().signal;

/** The element of `slot` in `set`, in nft's words. */
function elementOf(slot: number, set: TenantSet): string {
  const element = elementsOf({ slot, ...usual }).find((one) => one.set === set);
  if (element === undefined) throw new RangeError(`no element in ${set}`);
  return elementText(element);
}

describe("networks on a host", { skip: cannotRun }, () => {
  let ground: Ground;

  beforeEach(async () => {
    ground = await makeGround();
  });
  afterEach(() => ground.remove());

  const nft = (text: string): Promise<string> => ground.host.run(["nft", "-f", "-"], { input: `${text}\n` });
  const elements = async (): Promise<string> =>
    await ground.host.run(["nft", "list", "set", "inet", "lobsterd", "guests"]);
  /** Everything of the host that is ours, in words. */
  async function picture(): Promise<string> {
    const links = await ground.host.run(["ip", "-brief", "address"]);
    return `${await ground.host.run(["nft", "-s", "list", "ruleset"])}\n${links.replaceAll(/@if\d+/g, "")}`;
  }

  test("a slot is one namespace with one tap for one user, and IPv6 is off in it", async () => {
    const stack = await ground.openStack();
    await stack.pool.ready(1);
    const slot = createProcessRunner(namespacePath(ground.netnsDir, 1));
    const links: Array<{ ifname: string }> = JSON.parse(await slot.run(["ip", "-j", "link"]));
    assert.deepEqual(
      links.map(({ ifname }) => ifname),
      ["lo", inner.uplink, inner.tap],
    );
    const tap = await slot.run(["ip", "-details", "link", "show", "dev", inner.tap]);
    assert.match(tap, /tun type tap pi off vnet_hdr off persist on user 900000001 group 900000001/);
    assert.equal(await slot.run(["ip", "-6", "address"]), "");
    assert.equal((await slot.run(["cat", "/proc/sys/net/ipv6/conf/all/disable_ipv6"])).trim(), "1");
    assert.equal((await slot.run(["cat", "/proc/sys/net/ipv4/ip_forward"])).trim(), "1");
  });

  test("detach cuts an established flow, ends the host's sockets and forgets the connections", async () => {
    const stack = await ground.openStack();
    await stack.networks.attach({ vmId: vm(0), slot: 0, ...usual });
    const guest = await plugGuest(ground, 0);
    const host = await ground.actor("host");
    const internet = await ground.actor("internet");
    await internet.listen(80);
    await guest.actor.listen(9000);
    assert.equal(await host.hold(guest.plan.guestAddress, 9000), "echo");
    assert.equal(await guest.actor.hold(world.internet, 80), "echo");
    assert.match(await ground.host.run(["conntrack", "-L"]), /10\.201\.0\.1/);

    const started = performance.now();
    await stack.networks.detach(vm(0));
    const tookMs = performance.now() - started;
    assert.match(await host.use(2000), /closed|ECONN|EPIPE/);
    assert.equal(await guest.actor.use(300), "timeout");
    assert.doesNotMatch(await ground.host.run(["conntrack", "-L"]), /10\.201\.0\.1/);
    assert.ok(tookMs < 2000, `detach took ${tookMs} ms`);

    await stack.pool.ready(0);
    const slot = createProcessRunner(namespacePath(ground.netnsDir, 0));
    assert.match(await slot.run(["ip", "-details", "link"]), /tun type tap/, "the slot has a tap again");
    assert.equal((await slot.run(["conntrack", "-C"])).trim(), "0");
    assert.deepEqual(stack.store.retired(), []);
  });

  test("eight attaches and detaches at once", async () => {
    const stack = await ground.openStack({ slotCount: 8 });
    const slots = Array.from({ length: 8 }, (_, slot) => slot);
    await Promise.all(slots.map((slot) => stack.networks.attach({ vmId: vm(slot), slot: slot, ...usual })));
    const text = await elements();
    for (const slot of slots) assert.ok(text.includes(planSlot(slot).guestAddress));
    await Promise.all(slots.map((slot) => stack.networks.detach(vm(slot))));
    assert.doesNotMatch(await elements(), /elements/);
    await Promise.all(slots.map((slot) => stack.networks.attach({ vmId: vm(100 + slot), slot: slot, ...usual })));
    assert.deepEqual(await stack.reconcile(), []);
    assert.equal(stack.store.all().length, 8);
  });

  test("a crash between a record and its effect is made true at the next start", async () => {
    const first = await ground.openStack();
    await first.pool.fill(never);
    await first.networks.attach({ vmId: vm(0), slot: 0, ...usual });
    await first.networks.attach({ vmId: vm(1), slot: 1, ...usual });
    // What a kill leaves: an attach recorded only, a detach recorded only, elements nobody recorded, a slot half made.
    const store = openNetworkStore(openDatabase(join(ground.directory, "net.sqlite"), migrations));
    store.record({ vmId: vm(2), slot: 2, attachTimeMs: 1, ...usual });
    store.retire(vm(1), 1);
    await nft(`add element inet lobsterd guests { ${elementOf(3, "guests")} }`);
    await ground.host.run(["ip", "link", "delete", "dev", "lob-3"]);

    const second = await ground.openStack();
    const text = await elements();
    assert.deepEqual(
      [0, 1, 2, 3].filter((slot) => text.includes(`"lob-${slot}"`)),
      [0, 2],
    );
    await second.pool.fill(never);
    await second.pool.ready(1);
    assert.deepEqual(second.store.retired(), []);
    assert.deepEqual(await second.reconcile(), []);
    const before = await picture();
    assert.deepEqual(await second.reconcile(), [], "two runs in a row change nothing");
    assert.equal(await picture(), before);
  });

  test("drift is repaired and named, and what is not ours is left alone", async () => {
    const stack = await ground.openStack();
    await stack.pool.fill(never);
    await stack.networks.attach({ vmId: vm(0), slot: 0, ...usual });
    await stack.networks.attach({ vmId: vm(1), slot: 1, ...usual });
    await nft("table inet filter {\n chain input {\n type filter hook input priority 0; policy accept;\n }\n}");
    await ground.host.run(["ip", "link", "add", "lob-x", "type", "veth", "peer", "name", "foreign0"]);
    const before = await picture();

    const cases: ReadonlyArray<[string, () => Promise<unknown>, RegExp]> = [
      [
        "element removed",
        () => nft(`delete element inet lobsterd guests { ${elementOf(0, "guests")} }`),
        /missing-element/,
      ],
      [
        "element added",
        () => nft(`add element inet lobsterd reachable { ${elementOf(3, "reachable")} }`),
        /unknown-element/,
      ],
      ["rule added", () => nft("insert rule inet lobsterd FROM-GUEST accept"), /changed-rules .*FROM-GUEST/],
      ["chain flushed", () => nft("flush chain inet lobsterd OPEN"), /changed-rules .*OPEN/],
      [
        "limit raised",
        () =>
          nft(
            'delete element inet lobsterd sending { "lob-0" }\nadd element inet lobsterd sending { "lob-0" limit rate 9000/second }',
          ),
        /missing-element sending .*unknown-element sending/,
      ],
      [
        "policy widened",
        () => nft('add element inet lobsterd listed { "lob-0" . 9.9.9.0/24 . tcp . 1-65535 }'),
        /unknown-element listed/,
      ],
      [
        "rate lifted",
        () => ground.host.run(["tc", "qdisc", "delete", "dev", "lob-0", "root"]),
        /changed-shaping lob-0/,
      ],
      ["rate lifted in a namespace", () => unshape(0), /changed-shaping slot-0/],
      ["table deleted", () => nft("delete table arp lobsterd"), /missing-table arp/],
      ["all flushed", () => nft("delete table inet lobsterd"), /missing-table inet/],
      ["link down", () => ground.host.run(["ip", "link", "set", "dev", "lob-0", "down"]), /changed-link lob-0/],
      ["link deleted", () => ground.host.run(["ip", "link", "delete", "dev", "lob-1"]), /missing-link lob-1/],
      ["strange link", () => ground.host.run(["ip", "link", "add", "lob-77", "type", "veth"]), /unknown-link lob-77/],
      ["idle link deleted", () => ground.host.run(["ip", "link", "delete", "dev", "lob-3"]), /missing-link lob-3/],
      ["rules in a namespace", () => flushSlot(0), /changed-namespace slot-0/],
      [
        "namespace unbound",
        () => ground.host.run(["umount", namespacePath(ground.netnsDir, 1)]),
        /missing-namespace slot-1/,
      ],
    ];
    for (const [name, harm, expected] of cases) {
      await harm();
      const drifts = await stack.reconcile();
      assert.match(drifts.map(({ kind, object }) => `${kind} ${object}`).join("; "), expected, name);
      await stack.pool.fill(never);
      for (const link of ["lob-77", "veth0"]) {
        if ((await picture()).includes(`${link} `)) await ground.host.run(["ip", "link", "delete", "dev", link]);
      }
      assert.deepEqual(await stack.reconcile(), [], `${name}: nothing is left to do`);
    }
    assert.equal(sorted(await picture()), sorted(before));
  });

  test("a repair never passes through an open state", async () => {
    const stack = await ground.openStack();
    await stack.networks.attach({ vmId: vm(0), slot: 0, ...usual });
    await stack.networks.attach({ vmId: vm(1), slot: 1, ...usual });
    const guest = await plugGuest(ground, 0);
    const other = await plugGuest(ground, 1);
    await other.actor.count(7001);
    let probing = true;
    const flood = (async () => {
      while (probing) await guest.actor.send(other.plan.guestAddress, 7001, 20);
    })();
    for (let round = 0; round < 5; round += 1) {
      assert.equal(stack.firewall.wasChangedElsewhere(), false);
      await nft(`insert rule inet lobsterd LOBSTER-INPUT counter comment "strange-${round}"`);
      assert.equal(stack.firewall.wasChangedElsewhere(), true);
      assert.equal((await stack.reconcile()).length, 1);
      assert.deepEqual(await stack.reconcile(), []);
    }
    probing = false;
    await flood;
    assert.equal(await other.actor.counted(7001), 0);
  });

  test("teardown leaves nothing of ours and everything else", async () => {
    const bare = await picture();
    const stack = await ground.openStack();
    await stack.pool.fill(never);
    await stack.networks.attach({ vmId: vm(0), slot: 0, ...usual });
    assert.notEqual(await picture(), bare);
    const { tearDown } = await import("../teardown.ts");
    await tearDown(ground.netnsDir, ground.host);
    assert.equal(await picture(), bare);
    assert.equal(existsSync(namespacePath(ground.netnsDir, 0)), false);
    await tearDown(ground.netnsDir, ground.host);
  });

  async function unshape(slot: number): Promise<void> {
    const within = createProcessRunner(namespacePath(ground.netnsDir, slot));
    await within.run(["tc", "qdisc", "delete", "dev", inner.uplink, "root"]);
  }

  async function flushSlot(slot: number): Promise<void> {
    const within = createProcessRunner(namespacePath(ground.netnsDir, slot));
    await within.run(["nft", "flush", "chain", "netdev", "lobsterd", "LOBSTER-INGRESS"]);
  }
});

function sorted(text: string): string {
  return text.split("\n").toSorted().join("\n");
}
