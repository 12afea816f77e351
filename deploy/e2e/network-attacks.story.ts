/**
 * Network isolation from real guests whose workload is root, on a whole stack: nothing of any attack gets anywhere, while what
 * is wanted works. What makes each rule necessary is shown by the ablations of `net`.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { inner, planSlot } from "../../services/net/src/slots/address-plan.ts";
import { sendFrames } from "../../services/net/src/testing/frames.ts";
import { innerPorts } from "../dev/instance.ts";
import { uplink } from "../dev/outside.ts";
import { type Crossfire, crossfire, crossProtocols } from "./network/crossfire.ts";
import {
  assertNothingPassed,
  attackPort,
  echoPort,
  type Field,
  learnedNeighbours,
  linkOf,
  measure,
  openField,
  tapOf,
  tracked,
} from "./network/field.ts";
import { duringFlood, flood } from "./network/flood.ts";
import { frameAttacks, repeatsOf } from "./network/frame-attacks.ts";
import { knockFromOutside } from "./network/neighbour.ts";
import { slotAttacks } from "./network/slot-attacks.ts";
import { ask, assertUnchangedSince, evict, settledInventory, spawn } from "./subject.ts";

const portScan = fileURLToPath(new URL("../dev/port-scan.fixture.ts", import.meta.url));
/** The last slot: warm, and no tenant's as long as there are fewer than slots. */
const emptySlot = planSlot(63);
const churn = ["passer-by"] as const;
let inventory: readonly string[] = [];
let field: Field;

before(async () => {
  inventory = await settledInventory();
  field = await openField();
});
after(async () => {
  await Promise.all(churn.map((name) => evict(name)));
  await field?.close();
  await assertUnchangedSince(inventory);
});

function wantedTraffic(when: string): void {
  test(`works ${when}: guest to the internet by TCP, UDP and ICMP, in fragments too, and Caddy to guest`, async () => {
    const [first, second] = field.attackers;
    for (const guest of [first, second]) {
      const targets = (["tcp", "udp"] as const).map((protocol) => ({
        protocol,
        host: uplink.outsideAddress,
        port: echoPort,
      }));
      assert.deepEqual(await guest.connect({ targets, timeoutMs: 5000 }), ["echo", "echo"]);
      for (const size of ["56", "4000"]) {
        const ping = ["busybox", "ping", "-c", "1", "-W", "5", "-s", size, uplink.outsideAddress];
        const { exitCode, stdout } = await guest.run({ command: ping, user: "root" });
        assert.equal(exitCode, 0, stdout);
      }
      assert.equal((await ask(guest.name, { path: "/health" })).status, 200);
    }
  });
}

/** Neither table of the host that guests could fill has anything of an attack, but of the one guest's own honest address. */
async function assertNothingLearned(): Promise<void> {
  const own = `src=${field.attackers[0].plan.guestAddress} `;
  const foreign = (line: string) => line.includes(`dport=${attackPort}`) && !line.includes(own);
  assert.deepEqual(await tracked(field.host, foreign), []);
  assert.deepEqual(await learnedNeighbours(field.host), []);
}

wantedTraffic("before");

describe("from the guest's packet socket", () => {
  for (const [name, attack] of Object.entries(frameAttacks)) {
    test(`${attack.control} passes nothing: ${name}`, async () => {
      const [attacker] = field.attackers;
      const frames = await attack.frames(field);
      const repeat = repeatsOf(attack);
      const expected = frames.length * repeat;
      const origin = await tapOf(field, attacker);
      const before = await learnedNeighbours(origin.vantage);
      assertNothingPassed(await measure(field, origin, expected, () => attacker.send(frames, { repeat })), expected);
      await assertNothingLearned();
      assert.deepEqual(await learnedNeighbours(origin.vantage), before);
    });
  }

  test("NET-02 no listener of the host answers a guest, by TCP or UDP", async () => {
    const [attacker] = field.attackers;
    const hosts = [uplink.address, attacker.plan.hostAddress, inner.gatewayAddress];
    const targets = hosts.flatMap((host) =>
      [80, 443, 4222, 4318, 5053, echoPort].flatMap((port) =>
        (["tcp", "udp"] as const).map((protocol) => ({ protocol, host, port })),
      ),
    );
    const outcomes = await attacker.connect({ targets });
    // A refusal would be an answer, too.
    assert.deepEqual(new Set(outcomes), new Set(["timeout"]));
  });
});

describe("from inside a slot's namespace, past the rules at the tap", () => {
  for (const [name, attack] of Object.entries(slotAttacks)) {
    for (const whose of ["a tenant's slot", "a slot without a tenant"] as const) {
      test(`${attack.control} passes nothing: ${name}, from ${whose}`, async () => {
        const plan = whose === "a tenant's slot" ? field.attackers[0].plan : emptySlot;
        const frames = await attack.frames(plan, field);
        const { runner } = await field.slotVantage(plan.slot);
        const send = () => sendFrames(runner, inner.uplink, frames);
        assertNothingPassed(await measure(field, linkOf(field, plan), frames.length, send), frames.length);
        await assertNothingLearned();
      });
    }
  }
});

test("NET-05 passes nothing: a neighbour on the uplink that knows the way to the guests", async () => {
  await knockFromOutside(field);
});

test("NET-05 of all the instance's TCP ports, the front's alone answer the outside, with guests behind it", async () => {
  const scan = [process.execPath, portScan, uplink.address] as const;
  const open = await field.outside.runner.run(scan, { timeoutMs: 120_000 });
  // The field's own listener shows that the scan finds what is open.
  assert.deepEqual(JSON.parse(open), [innerPorts.http, innerPorts.https, echoPort]);
});

describe("REL-9 four guests attack one another while others are spawned and evicted", () => {
  let result: Crossfire;
  let passedBy = 0;
  before(async () => {
    const passing = (async () => {
      for (const name of churn) {
        await spawn(name);
        await evict(name);
        passedBy++;
      }
    })();
    result = await crossfire(field, passing);
    await passing;
  });

  for (const protocol of Object.keys(crossProtocols)) {
    test(`none of twelve ordered pairs is reached by ${protocol}`, () => {
      const pairs = field.attackers.flatMap((from) =>
        field.attackers.filter((to) => to !== from).map((to) => [from, to] as const),
      );
      assert.equal(pairs.length, 12);
      for (const [from, to] of pairs) {
        const attempts = result.attempts(protocol, from, to);
        assert.ok(
          attempts >= result.rounds,
          `${from.name} to ${to.name}: ${attempts} frames in ${result.rounds} rounds`,
        );
        assert.equal(result.reached(to), 0, to.name);
      }
    });
  }

  test("nothing went out of any link of the host, nor into the host", (context) => {
    context.diagnostic(`${result.rounds} rounds`);
    assert.equal(passedBy, churn.length);
    assert.deepEqual(result.sent, []);
    assert.equal(result.accepted, 0);
  });
});

test("NET-04 of 10,000 flows of a guest 1,024 are tracked, its old connection lives and another connects", async (context) => {
  const [, other, , attacker] = field.attackers;
  const { mostOnHost, mostInSlot, held, others } = await flood(field, attacker, other);
  context.diagnostic(`tracked at most ${mostOnHost} by the host and ${mostInSlot} by the slot`);
  assert.ok(mostOnHost > duringFlood && mostOnHost <= 1024, `the host tracked ${mostOnHost}`);
  assert.ok(mostInSlot > duringFlood && mostInSlot <= 1024, `the slot tracked ${mostInSlot}`);
  assert.deepEqual(held, ["echo", "echo", "echo"]);
  assert.deepEqual(
    others,
    Array.from({ length: 100 }, () => "echo"),
  );
});

wantedTraffic("after");
