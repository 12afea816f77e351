import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import { removeNamespaces } from "../host/namespace.ts";
import { type Argv, createProcessRunner, type ProcessRunner, type RunOptions } from "../host/process.ts";
import type { NetworkStack } from "../network-stack.ts";
import { linkPrefix, namespacePath } from "../slots/address-plan.ts";
import { listLinkedSlots } from "../slots/link-listing.ts";
import { cannotRun, type Ground, makeGround, usual, world } from "../testing/ground.ts";
import { plugGuest } from "../testing/guest.ts";

const vm = (slot: number): string => slot.toString(16).padStart(32, "0");
const never = new AbortController().signal;

/** What is done with one call of a program instead of running it. */
type Interception = (call: Call) => Promise<string> | undefined;

interface Call {
  /** File of the namespace; `undefined`: the host's. */
  readonly path: string | undefined;
  readonly argv: Argv;
  readonly options: RunOptions | undefined;
  run(options?: RunOptions): Promise<string>;
}

function intercepted(runner: ProcessRunner, intercept: Interception, path?: string): ProcessRunner {
  return {
    run(argv, options) {
      const run = (changed = options): Promise<string> => runner.run(argv, changed);
      return intercept({ path, argv, options, run }) ?? run();
    },
    within: (inner) => intercepted(runner.within(inner), intercept, inner),
  };
}

const loadsRules = ({ argv }: Call): boolean => argv[0] === "nft" && argv.includes("-f");
const listsRules = ({ argv }: Call): boolean => argv[0] === "nft" && argv.includes("list");

/** Slots whose link `ip` is told to bring up. */
function raisedBy({ argv, options }: Call): number[] {
  if (argv[0] !== "ip") return [];
  return [...(options?.input ?? "").matchAll(/^link set dev lob-(\d+) up$/gm)].map((match) => Number(match[1]));
}

/** An nft that says that it loaded the rules, and did not. */
function lying(runner: ProcessRunner, where: (call: Call) => boolean): ProcessRunner {
  return intercepted(runner, (call) => (loadsRules(call) && where(call) ? Promise.resolve("") : undefined));
}

describe("after a reboot", { skip: cannotRun }, () => {
  let ground: Ground;

  beforeEach(async () => {
    ground = await makeGround();
  });
  afterEach(() => ground.remove());

  const listing = (runner: ProcessRunner): Promise<string> =>
    runner.run(["nft", "--stateless", "--terse", "list", "ruleset"]);
  const slotRules = (slot: number): Promise<string> =>
    listing(createProcessRunner(namespacePath(ground.netnsDir, slot)));
  const admitted = (): Promise<string> => ground.host.run(["nft", "list", "set", "inet", "lobsterd", "guests"]);

  /** Two networks, and then nothing left of them but what is on disk. */
  async function reboot(): Promise<{ host: string; slot: string }> {
    const stack = await ground.openStack();
    await stack.networks.attach({ vmId: vm(0), slot: 0, ...usual });
    await stack.networks.attach({ vmId: vm(1), slot: 1, ...usual, egress: { mode: "none" } });
    const before = { host: await listing(ground.host), slot: await slotRules(0) };
    await ground.host.run(["nft", "flush", "ruleset"]);
    const links = [...(await listLinkedSlots(ground.host))].map((slot) => `link delete dev ${linkPrefix}${slot}\n`);
    await ground.host.run(["ip", "-batch", "-"], { input: links.join("") });
    const files = [0, 1, 2, 3].map((slot) => namespacePath(ground.netnsDir, slot));
    await removeNamespaces(createProcessRunner(), files);
    await ground.host.run(["conntrack", "-F"]);
    assert.equal(await listing(ground.host), "");
    return before;
  }

  test("no link is up before the rules on both of its sides were read back equal", async () => {
    const before = await reboot();
    const raised: number[] = [];
    const trail: string[] = [];
    const assertReadBack = async (slot: number): Promise<void> => {
      assert.equal(await listing(ground.host), before.host);
      assert.equal(await slotRules(slot), before.slot);
      for (const place of ["host", `slot-${slot}`]) {
        const steps = trail.filter((step) => step.endsWith(` ${place}`));
        assert.ok(steps.includes(`load ${place}`) && steps.at(-1) === `list ${place}`, `${place}: ${steps.join(", ")}`);
      }
    };
    const watching = intercepted(ground.host, (call) => {
      const where = call.path?.split("/").at(-1) ?? "host";
      if (loadsRules(call)) trail.push(`load ${where}`);
      if (listsRules(call)) trail.push(`list ${where}`);
      const slots = raisedBy(call);
      raised.push(...slots);
      return slots.length === 0 ? undefined : Promise.all(slots.map(assertReadBack)).then(() => call.run());
    });
    const stack = await ground.openStack({}, { runner: watching });
    assert.deepEqual(raised.sort(), [0, 1]);
    assert.deepEqual([...stack.pool.warm().keys()].sort(), [0, 1], "idle slots are made after");
    await assertWhole(stack);
  });

  async function assertWhole(stack: NetworkStack): Promise<void> {
    assert.match(await admitted(), /"lob-0".*"lob-1"/s);
    assert.deepEqual(await stack.reconcile(), []);
    const internet = await ground.actor("internet");
    await internet.listen(80);
    const [open, closed] = [await plugGuest(ground, 0), await plugGuest(ground, 1)];
    assert.equal(await open.actor.connect(world.internet, 80, 1500), "echo");
    assert.equal(await closed.actor.connect(world.internet, 80, 300), "timeout");
  }

  const lies: Readonly<Record<string, (call: Call) => boolean>> = {
    everywhere: () => true,
    "on the host": ({ path }) => path === undefined,
    "in slots": ({ path }) => path !== undefined && !path.endsWith("/scratch"),
  };
  for (const [where, isLie] of Object.entries(lies)) {
    test(`with an nft that lies ${where}, nothing is opened`, async () => {
      await reboot();
      await assert.rejects(ground.openStack({}, { runner: lying(ground.host, isLie) }));
      assert.deepEqual(await linksThatAreUp(), []);
      // The same disk and an honest nft again.
      await assertWhole(await ground.openStack());
    });

    test(`with an nft that lies ${where}, a new host is not opened or has no slot`, async () => {
      const opened = ground.openStack({}, { runner: lying(ground.host, isLie) });
      if (where !== "in slots") return await assert.rejects(opened);
      const stack = await opened;
      await assert.rejects(stack.networks.attach({ vmId: vm(0), slot: 0, ...usual }), /read back different/);
      assert.deepEqual(stack.store.all(), []);
      assert.doesNotMatch(await admitted(), /lob-/);
      assert.deepEqual(await linksThatAreUp(), []);
    });
  }

  const forgetting = (where: (call: Call) => boolean, rule: string): ProcessRunner =>
    intercepted(ground.host, (call) => {
      if (!loadsRules(call) || !where(call)) return undefined;
      const input = call.options?.input ?? "";
      return call.run({ ...call.options, input: input.replace(new RegExp(`^.*comment "${rule}"\n`, "m"), "") });
    });

  test("a rule that is left out on the way to the kernel is missed", async () => {
    await reboot();
    const onHost = forgetting(({ path }) => path === undefined, "spoofed");
    await assert.rejects(ground.openStack({}, { runner: onHost }), /still differ/);
    // Even by an nft that leaves it out wherever it is asked, so that what is read back is what it always says.
    for (const rule of ["spoofed", "spoofed-mac"])
      await assert.rejects(ground.openStack({}, { runner: forgetting(() => true, rule) }), new RegExp(`${rule}`));
    assert.deepEqual(await linksThatAreUp(), []);
  });

  test("one slot whose rules cannot be loaded stays out, and the others do not wait for it", async () => {
    const inSlot1 = lying(ground.host, ({ path }) => path?.endsWith("/slot-1") === true);
    const stack = await ground.openStack({}, { runner: inSlot1 });
    await assert.rejects(stack.pool.fill(never));
    await assert.rejects(stack.networks.attach({ vmId: vm(1), slot: 1, ...usual }), /read back different/);
    await stack.networks.attach({ vmId: vm(0), slot: 0, ...usual });
    assert.match(await admitted(), /"lob-0"/);
    assert.doesNotMatch(await admitted(), /"lob-1"/);
    assert.equal(stack.pool.warm().has(1), false);
    assert.ok(!(await linksThatAreUp()).includes("lob-1"));
  });

  async function linksThatAreUp(): Promise<string[]> {
    const text = await ground.host.run(["ip", "-brief", "link", "show", "up", "type", "veth"]);
    return [...text.matchAll(/^(lob-\d+)@/gm)].map((match) => match[1] ?? "");
  }
});
